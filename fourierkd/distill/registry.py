"""The registry scope ``fourierkd``: in flow names from configs, out flow classes.

Child registries of MMEngine's, so ``default_scope = "fourierkd"`` finds our classes first and
MMEngine's and MMCV's after them. MMDetection's and MMSegmentation's are reached by prefix
(``mmseg.EncoderDecoder``) once ``register_scope`` has imported the package. Models, hooks, wrappers
and visualization backends live above this module: MMEngine imports them by the locations named here
when it first looks one up and nobody has (``register_all``).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine import registry as root
from mmengine.registry import Registry

from fourierkd.distill import files as files  # what MMEngine's data sets read runs nothing
from fourierkd.errors import ConfigError

SCOPE = "fourierkd"
TASK_SCOPES = ("mmdet", "mmseg")


def _child(name: str, parent: Registry, *locations: str) -> Registry:
    return Registry(name, parent=parent, scope=SCOPE, locations=list(locations))


MODELS = _child("model", root.MODELS, "fourierkd.distill.distiller")
HOOKS = _child("hook", root.HOOKS, "fourierkd.engine.hooks")
VISBACKENDS = _child("vis_backend", root.VISBACKENDS, "fourierkd.tracking")

# Empty children: without them MMEngine warns, once per registry, that the scope is not found.
DATASETS = _child("dataset", root.DATASETS)
DATA_SAMPLERS = _child("data sampler", root.DATA_SAMPLERS)
EVALUATOR = _child("evaluator", root.EVALUATOR)
FUNCTIONS = _child("function", root.FUNCTIONS)
LOG_PROCESSORS = _child("log_processor", root.LOG_PROCESSORS)
LOOPS = _child("loop", root.LOOPS)
METRICS = _child("metric", root.METRICS)
MODEL_WRAPPERS = _child("model_wrapper", root.MODEL_WRAPPERS, "fourierkd.engine.parallel")
OPTIM_WRAPPERS = _child("optim_wrapper", root.OPTIM_WRAPPERS, "fourierkd.engine.amp")
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    "optimizer wrapper constructor", root.OPTIM_WRAPPER_CONSTRUCTORS
)
OPTIMIZERS = _child("optimizer", root.OPTIMIZERS)
PARAM_SCHEDULERS = _child("parameter scheduler", root.PARAM_SCHEDULERS)
RUNNERS = _child("runner", root.RUNNERS)
TASK_UTILS = _child("task util", root.TASK_UTILS)
TRANSFORMS = _child("transform", root.TRANSFORMS)
VISUALIZERS = _child("visualizer", root.VISUALIZERS)
WEIGHT_INITIALIZERS = _child("weight initializer", root.WEIGHT_INITIALIZERS)


def register_scope(scope: str) -> None:
    """Import the package behind a scope, which fills its registries.

    Raises:
        ConfigError: the package is not installed.
    """
    try:
        if scope in TASK_SCOPES:
            importlib.import_module(f"{scope}.utils").register_all_modules(init_default_scope=False)
        elif scope not in (SCOPE, "mmengine"):
            importlib.import_module(scope)
    except ImportError as error:
        raise ConfigError(
            f"the package of scope {scope!r} must be importable ({error})", fix="run `make setup`"
        ) from error


@contextmanager
def registered_only() -> Iterator[None]:
    """Within: a config builds classes of the registries, and nothing else.

    MMEngine imports a type that it does not know as a dotted name: ``type="os.system"`` would run.
    """
    module = importlib.import_module("mmengine.registry.registry")
    original = module.get_object_from_string
    module.get_object_from_string = lambda _: None  # type: ignore[attr-defined]  # a name of any module
    try:
        yield
    finally:
        module.get_object_from_string = original  # type: ignore[attr-defined]  # a name of any module
