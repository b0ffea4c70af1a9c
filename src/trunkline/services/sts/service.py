"""GetCallerIdentity; the rest of STS is refused by name."""

from __future__ import annotations

from typing import Any

from trunkline.kernel.call import Call, Operation


class StsService:
    def operations(self) -> dict[str, Operation]:
        return {"GetCallerIdentity": self.get_caller_identity}

    def get_caller_identity(self, params: dict[str, Any], call: Call) -> None:
        """https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html"""
        caller = call.caller
        call.answer({"UserId": caller.principal, "Account": caller.account, "Arn": caller.arn})
