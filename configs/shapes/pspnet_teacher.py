# The teacher, on all 400 labelled images.
_base_ = [
    "../_base_/shapes_seg.py",
    "../_base_/shapes_pspnets.py",
    "../_base_/shapes_teacher_schedule.py",
]

model = dict(type="Distiller", student={{_base_._teacher}})
train_dataloader = dict(batch_size=12)
