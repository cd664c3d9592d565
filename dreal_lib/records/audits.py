"""The audit of a run's critics as a file beside its record; `training.run_audit` makes it.

It is no part of the record, which is older: the weights that the run ended with tie the two.
"""

import json
import zipfile
from pathlib import Path

import numpy as np

from dreal_lib.errors import UserError

AUDITED = "run/checkpoint_sha256"  # beside the arrays of the checkpoints


def audit_path(record: Path | str) -> Path:
    """Where the audit of the run with this record lies, e.g. `seed0.audit.npz`."""
    record = Path(record)
    return record.with_name(f"{record.stem}.audit.npz")


def read_audit(record: Path | str) -> dict[str, dict[str, np.ndarray]]:
    """The arrays of a run's audit (`CriticAudit`) by checkpoint, "0" to its last epoch.

    Args:
        record: The run's record, beside which the audit lies.

    Returns:
        Empty if the run was not audited.

    Raises:
        UserError: The audit is damaged, or of a run with other weights.
    """
    record, path = Path(record), audit_path(record)
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"the audit {path} cannot be read ({error}); make it again") from None
    if str(arrays.pop(AUDITED, "")) != weights_of(record):
        raise UserError(f"the audit {path} is not of this run; make it again from its checkpoints")
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        epoch, _, name = name.partition("/")
        found.setdefault(epoch, {})[name] = array
    return found


def weights_of(record: Path | str) -> str:
    """SHA-256 of the weights that a run ended with, from its record.

    Raises:
        UserError: No record of a finished run.
    """
    try:
        return str(json.loads(Path(record).read_text(encoding="utf-8"))["checkpoint_sha256"])
    except (OSError, ValueError, KeyError):
        raise UserError(f"no record of a finished run lies at {record}; train it first") from None
