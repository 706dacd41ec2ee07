# The teacher: trained once by a study, on all 400 labelled images.
_base_ = [
    "../_base_/shapes_small_seg.py",
    "../_base_/shapes_small_pspnets.py",
    "../_base_/shapes_teacher_schedule.py",
]

model = dict(type="Distiller", student={{_base_._teacher}})
train_dataloader = dict(batch_size=12)
