# The student detector alone; the distilled runs start from this file, so that only the
# distillation differs.
_base_ = [
    "../_base_/shapes_det.py",
    "../_base_/shapes_gfls.py",
    "../_base_/schedule.py",
]

model = dict(type="Distiller", student={{_base_._student}})
