# The student alone; the distilled runs start from this file, so that only the distillation differs.
# It learns from 18 labelled images with six or seven small objects each, the teacher from all 400.
_base_ = [
    "../_base_/shapes_small_seg.py",
    "../_base_/shapes_small_pspnets.py",
    "../_base_/shapes_student_schedule.py",
]

model = dict(type="Distiller", student={{_base_._student}})
train_dataloader = dict(batch_size=4, dataset=dict(indices=18))
