"""One run in the cache: trained or assembled, written, and read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from amfir_lib.errors import TrainingDiverged
from amfir_lib.methods import DataFacts, Method, build_method, title_of
from amfir_lib.storage import atomic_write, read_json, write_json
from amfir_lib.study.evaluation import QueryResults, evaluate
from amfir_lib.study.feature_table import FeatureTable
from amfir_lib.study.training import Training, train, validation_episodes

if TYPE_CHECKING:
    from amfir_lib.study.runs import Run, TestCell


@dataclass(frozen=True)
class RunResult:
    """What the cache holds of a run.

    Attributes:
        run: what was computed.
        record: options, seeds, digests, validation accuracy, parameters, seconds.
        history: one row per training step.
        validation: one row per validation and shot.
        tests: cell -> results of every query, in the order of ``cell.episodes``.
        folder: in the cache.
    """

    run: Run
    record: dict[str, Any]
    history: pd.DataFrame
    validation: pd.DataFrame
    tests: dict[TestCell, QueryResults]
    folder: Path

    def method(self) -> Method:
        """The trained method, on the CPU, in evaluation mode."""
        return load_method(self.run, load_file(self.folder / "state.safetensors"))


def is_done(run: Run, cells: Sequence[TestCell], cache_dir: Path) -> bool:
    """Whether the cache holds the run and all these tests of it."""
    folder = run.folder(cache_dir)
    return (folder / "record.json").exists() and all(test_path(folder, cell).exists() for cell in cells)


def train_run(run: Run, table: FeatureTable, folder: Path, cache_dir: Path) -> None:
    """Train (or assemble) one run and write its state, histories and, last, its record."""
    method = _untrained(run).to(next(iter(table.features.values())).device)
    parts = [load_result(part, (), cache_dir) for part in run.parts()]
    if parts:
        state: dict[str, Tensor] = {}
        for part in parts:
            own = load_file(part.folder / "state.safetensors")
            state |= {f"parts.{part.run.method}.{name}": values for name, values in own.items()}
        method.load_state_dict(state)
        history, validation = pd.DataFrame(), pd.DataFrame()
        outcome = {"seconds": sum(part.record["seconds"] for part in parts), "best_step": None}
        outcome["val_accuracy"] = _validation_accuracy(method, table, run.training)
    elif not list(method.parameters()):  # nothing to learn
        state, history, validation = method.state_dict(), pd.DataFrame(), pd.DataFrame()
        outcome = {"seconds": 0.0, "best_step": None}
        outcome["val_accuracy"] = _validation_accuracy(method, table, run.training)
    else:
        try:
            trained = train(method, table, run.training, seed=run.seed, checkpoint=folder / "checkpoint.pt")
        except TrainingDiverged as error:
            raise TrainingDiverged(f"{run.item_name}: {error}") from error
        state, history, validation = trained.state, trained.history, trained.validation
        outcome = {name: getattr(trained, name) for name in ("seconds", "best_step", "val_accuracy")}
    with atomic_write(folder / "state.safetensors") as temporary:
        save_file({name: values.cpu().contiguous() for name, values in state.items()}, temporary)
    for name, frame in (("history", history), ("validation", validation)):
        with atomic_write(folder / f"{name}.csv") as temporary:
            frame.to_csv(temporary, index=False)
    n_parameters = sum(parameter.numel() for parameter in method.parameters())
    device = str(next(iter(table.features.values())).device)
    record = {"identity": run.identity, "key": run.key, "title": title_of(run.method, run.n_patches)}
    record |= {"parameters": n_parameters, "device": device} | outcome
    write_json(folder / "record.json", record | {"step_seconds": outcome["seconds"] / max(1, run.training.steps)})
    (folder / "checkpoint.pt").unlink(missing_ok=True)


def _validation_accuracy(method: Method, table: FeatureTable, settings: Training) -> float:
    """Mean over shots on the validation episodes, as for a trained method at the step that is kept."""
    episodes = validation_episodes(table, settings).values()
    return float(np.mean([evaluate(method, table, one).accuracy.mean() for one in episodes]))


def _untrained(run: Run) -> Method:
    generator = torch.Generator().manual_seed(run.seed)
    facts = DataFacts(n_base_classes=len(run.material.layout().base_classes), n_patches=run.n_patches)
    return build_method(run.method, dims=run.read.dims, options=dict(run.options), generator=generator, facts=facts)


def load_method(run: Run, state: dict[str, Tensor]) -> Method:
    """A method with given weights, on the CPU, in evaluation mode."""
    method = _untrained(run)
    method.load_state_dict(state)
    return method.eval()


def load_result(run: Run, cells: Sequence[TestCell], cache_dir: Path) -> RunResult:
    """Read a finished run from the cache."""
    folder = run.folder(cache_dir)
    tests = {}
    for cell in cells:
        with np.load(test_path(folder, cell)) as arrays:
            tests[cell] = QueryResults.from_arrays({name: arrays[name] for name in arrays if name != "classes"})
    frames = [_read_csv(folder / f"{name}.csv") for name in ("history", "validation")]
    return RunResult(run, read_json(folder / "record.json"), *frames, tests, folder)


def _read_csv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path) if path.stat().st_size > 1 else pd.DataFrame()


def cell_name(cell: TestCell) -> str:
    """What the cache calls the results of a cell: ``test-5way-1shot-5query-1000episodes-0``."""
    return f"{cell.split}-{cell.n_way}way-{cell.n_shot}shot-{cell.n_query}query-{cell.n_episodes}episodes-{cell.seed}"


def test_path(folder: Path, cell: TestCell) -> Path:
    """The file of a run's results on one cell."""
    return folder / f"{cell_name(cell)}.npz"
