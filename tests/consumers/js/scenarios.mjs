// Runs scenarios one after the other and prints what became of each as JSON: "" or the error that it ended in.

const [, , endpoint] = process.argv;

export { endpoint };

export const settings = {
  endpoint,
  region: "us-east-1",
  credentials: { accessKeyId: "test", secretAccessKey: "test" },
};

export async function run(scenarios) {
  const outcomes = {};
  for (const [name, scenario] of Object.entries(scenarios)) {
    try {
      await scenario();
      outcomes[name] = "";
    } catch (error) {
      outcomes[name] = error.stack ?? String(error);
    }
  }
  console.log(JSON.stringify(outcomes));
}

/** Moves service time on by so many seconds. */
export async function advance(seconds) {
  const answer = await fetch(`${endpoint}/_trunkline/clock/advance`, {
    method: "POST",
    body: JSON.stringify({ seconds }),
  });
  if (!answer.ok) throw new Error(await answer.text());
}

/** Resolves when `condition` returns something true; the error says what was awaited. */
export async function until(what, condition, seconds = 20) {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; ) {
    const found = await condition();
    if (found) return found;
    await new Promise((resume) => setTimeout(resume, 10));
  }
  throw new Error(`waited ${seconds} s in vain until ${what}`);
}
