"""Two gloo processes: DDP and FSDP2 train the zoo, and a swapped model, under Alternating as one process does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .zoo import zoo

pytestmark = pytest.mark.process


def test_ddp_and_fsdp2_equal_one_process_and_keep_the_phase(tmp_path: Path) -> None:
    worker = Path(__file__).with_name("distributed_worker.py")
    done = subprocess.run([sys.executable, str(worker), str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads((tmp_path / "found.json").read_text())
    for model in ("zoo", "swapped"):
        assert found[f"ddp {model}"] < 1e-5
        assert found[f"fsdp2 {model}"] < 1e-5
        assert found[f"same keys {model}"], "an optimizer checkpoint lost a parameter's state"
        assert found[f"phase {model}"] == ["activations", "activations"]
        assert found[f"count {model}"] == [5, None]
    assert found["fsdp2 bfloat16"]
    started = {k: v.flatten().tolist() for k, v in zoo().state_dict().items() if k.startswith("activations.")}
    assert found["fsdp2 from meta"] == started
    assert len(started) > 20
