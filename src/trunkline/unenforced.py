"""What is stored and shown before its enforcement is built: one table, shown everywhere.

Shown in docs/reference/unenforced.md, in the banner and at
``/_trunkline/unenforced``. With auth verify, where people rely on what they set, it
is refused at the call. It is to be empty at 1.0.
"""

from __future__ import annotations

UNENFORCED: list[dict[str, str]] = [
    {
        "service": "sqs",
        "setting": "Policy",
        "means": "Queue policies (and AddPermission) are validated, stored and returned; they refuse no call.",
    },
    {
        "service": "sqs",
        "setting": "KmsMasterKeyId",
        "means": "Key ids and KmsDataKeyReusePeriodSeconds are stored and returned; bodies are not encrypted.",
    },
    {
        "service": "sqs",
        "setting": "SqsManagedSseEnabled",
        "means": "Stored and returned; bodies lie on the disk as they are.",
    },
    {
        "service": "sqs",
        "setting": "FifoThroughputLimit",
        "means": "Stored, validated and returned; no throughput quota is applied to either value.",
    },
]
