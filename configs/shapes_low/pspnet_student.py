# The student alone; the distilled runs start from this file, so that only the distillation differs.
# It learns from 60 labelled images, the teacher from all 400: a longer schedule cannot make up for
# labels, so what distillation adds is the teacher's knowledge and not training time.
_base_ = [
    "../_base_/shapes_seg.py",
    "../_base_/shapes_study_pspnets.py",
    "../_base_/shapes_student_schedule.py",
]

model = dict(type="Distiller", student={{_base_._student}})
train_dataloader = dict(batch_size=4, dataset=dict(indices=60))
