# The pair, distilled with the published settings; method=... takes another way.
_base_ = "pspnet_student.py"

method = "published"
model = dict(teacher=dict(model={{_base_._teacher}}, checkpoint=None))  # a study fills it in
