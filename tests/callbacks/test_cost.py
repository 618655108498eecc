import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from callbacks.cost import CostReport


@pytest.mark.parametrize("known", [True, False], ids=["unix", "windows"])
def test_what_was_spent_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    """Windows' Python has no module `resource`: the process's memory is left out."""
    if not known:
        monkeypatch.setitem(sys.modules, "resource", None)
    report, trainer = CostReport(), SimpleNamespace(default_root_dir=str(tmp_path), is_global_zero=True)
    report.on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
    for _ in range(3):
        report.on_train_batch_end(trainer, None)  # type: ignore[arg-type]
    report.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    written = json.loads((tmp_path / "cost.json").read_text())
    assert (written["epochs"], written["steps"]) == (1, 3)
    assert written["seconds"] >= 0
    assert written.get("peak_memory_mib", 0) > 50 or not known
    assert ("peak_memory_mib" in written) == known
