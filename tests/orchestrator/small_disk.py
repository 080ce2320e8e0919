"""Runs `run` twice, with the folder of runs on a disk of its own: full, and then with room.

It is started in a mount namespace, which ends with it. Prints what each call gave as JSON.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from fault_table import Ablation

from orchestrator.store.paths import Results

ablation = Ablation(Path(sys.argv[1]), Results(Path(sys.argv[2])))
runs = ablation.results.runs
kept = runs.with_name("kept")
runs.rename(kept)
runs.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(runs)], check=True)
shutil.copytree(kept, runs, dirs_exist_ok=True)
filler = runs / ".filler"
with filler.open("wb", buffering=0) as file:
    room = shutil.disk_usage(runs).free
    file.write(bytes(room))
before = ablation.outcomes()
full = ablation.run()
filler.unlink()
kept_all = {run_id: ablation.outcomes().get(run_id) for run_id in before} == before
left_over = [path.name for path in runs.rglob("*.tmp*")]
free = ablation.run("--json")
found = {
    "full": [full.exit_code, full.stderr.splitlines()],
    "kept_all": kept_all,
    "left_over": left_over,
    "free": [free.exit_code, json.loads(free.stdout or "{}").get("n_trained")],
    "n_outcomes": len(ablation.outcomes()),
}
print(json.dumps(found))
