"""The final tables of a study arrive in one run of the study's group."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from wandb_loopback import LoopbackServer

from fourierkd.tracking.study_table import log_study_table


def test_the_report_run_holds_the_final_table(server: LoopbackServer, tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "method": pd.Series(["tuned", pd.NA], dtype="string"),
            "n": np.array([3, 4]),
            "interval": [(0.1, 0.2), None],
            "when": pd.to_datetime(["2026-01-01", None]),
            "tie": [True, False],
        }
    )
    for _ in range(2):  # a report written again replaces the first one, in the same W&B run
        url = log_study_table(
            tmp_path, {"results": frame}, study="shapes", metric="mIoU", wandb={"project": "kd"}
        )
    assert url is not None
    (run,) = server.runs.values()
    assert (run.fields["jobType"], run.fields["groupName"]) == ("report", "shapes")
    table = json.loads(next(v for k, v in run.files.items() if k.startswith("media/table/")))
    assert table["data"][0] == ["tuned", 3, "[0.1, 0.2]", "2026-01-01 00:00:00", True]
    assert table["data"][1] == [None, 4, None, None, False]
