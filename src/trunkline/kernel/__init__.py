"""Words that every other package speaks. Imports nothing of Trunkline's."""
