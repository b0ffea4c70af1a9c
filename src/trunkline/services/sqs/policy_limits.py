"""How much a queue's policy may hold (aws/sqs.md section 10): counted over the whole document."""

from __future__ import annotations

from typing import Any

from trunkline.services.sqs.limits import POLICY_BYTES, POLICY_CONDITIONS, POLICY_PRINCIPALS, POLICY_STATEMENTS


def excess(text: str, document: dict[str, Any]) -> str | None:
    """What a policy has too much of, in the words of AWS's own text about actions; None if it keeps the limits."""
    statements = document.get("Statement")
    if not isinstance(statements, list):
        statements = [statements]
    statements = [each for each in statements if isinstance(each, dict)]
    counts = (
        (len(statements), "Statements", POLICY_STATEMENTS),
        (sum(_principals(each) for each in statements), "Principals", POLICY_PRINCIPALS),
        (sum(_conditions(each) for each in statements), "Conditions", POLICY_CONDITIONS),
        (len(text.encode("utf-8", "surrogatepass")), "Bytes", POLICY_BYTES),
    )
    for count, what, most in counts:
        if count > most:
            return f"{count} {what} were found, maximum allowed is {most}."
    return None


def _principals(statement: dict[str, Any]) -> int:
    found = 0
    for name in ("Principal", "NotPrincipal"):
        principal = statement.get(name)
        for each in principal.values() if isinstance(principal, dict) else (principal,):
            found += len(each) if isinstance(each, list) else each is not None
    return found


def _conditions(statement: dict[str, Any]) -> int:
    """Each key under each operator is a condition."""
    block = statement.get("Condition")
    if not isinstance(block, dict):
        return 0
    return sum(len(keys) for keys in block.values() if isinstance(keys, dict))
