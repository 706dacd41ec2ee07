# The teacher detector: trained once by a study, on the same data and twice the schedule of the
# student.
_base_ = [
    "../_base_/shapes_det.py",
    "../_base_/shapes_gfls.py",
    "../_base_/shapes_teacher_schedule.py",
]

model = dict(type="Distiller", student={{_base_._teacher}})
