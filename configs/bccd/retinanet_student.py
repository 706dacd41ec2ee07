# The student detector alone on BCCD; the distilled runs start from this file, so that only the
# distillation differs.
_base_ = [
    "../_base_/bccd.py",
    "../_base_/bccd_retinanets.py",
    "../_base_/schedule.py",
]

model = dict(type="Distiller", student={{_base_._student}})
