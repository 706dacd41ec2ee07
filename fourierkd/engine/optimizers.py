"""Optimizers of a Distiller: in flow the model and ``optim_wrapper``, out flows the wrapper.

Constructors of the task packages, such as those of layer-wise learning rates, know the parameters
of a detector or segmentor by their names and look at its ``backbone``. They get the student.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from fourierkd.distill.registry import TASK_SCOPES
from fourierkd.errors import ConfigError

STUDENT = "student."


def build_by_constructor(
    model: nn.Module, config: Mapping[str, Any]
) -> OptimWrapper | OptimWrapperDict:
    """The wrapper that ``config["constructor"]`` builds, as MMEngine does it.

    What a Distiller has beside the student (losses, connectors) is a group with the optimizer's own
    learning rate and weight decay.

    Raises:
        ConfigError: the constructor does not know the student's backbone.
    """
    wrapper = copy.deepcopy(dict(config))
    kind, paramwise = wrapper.pop("constructor"), wrapper.pop("paramwise_cfg", None)
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.build(
        {"type": kind, "paramwise_cfg": paramwise, "optim_wrapper_cfg": wrapper}
    )
    add_params: Any = getattr(constructor, "add_params", None)
    if getattr(add_params, "__module__", "").partition(".")[0] in TASK_SCOPES:

        def add(params: list[dict[str, Any]], module: Any, **kwargs: Any) -> None:
            if not hasattr(module, "student"):
                add_params(params, module, **kwargs)
                return
            add_params(params, module.student, **kwargs)
            others = {
                name: parameter
                for name, parameter in module.named_parameters()
                if parameter.requires_grad and not name.startswith(STUDENT)
            }
            if others:
                group: dict[str, Any] = {"params": list(others.values())}
                if any("param_names" in other for other in params):  # PyTorch: all or none
                    group["param_names"] = list(others)
                params.append(group)

        constructor.add_params = add
    try:
        built: OptimWrapper | OptimWrapperDict = constructor(model)
    except (NotImplementedError, UnboundLocalError) as error:
        student = getattr(getattr(model, "module", model), "student", model)
        raise ConfigError(
            f"{kind} does not know this backbone or its decay_type",
            value=type(getattr(student, "backbone", student)).__name__,
            fix="leave optim_wrapper.constructor out, or correct optim_wrapper.paramwise_cfg",
        ) from error
    return built
