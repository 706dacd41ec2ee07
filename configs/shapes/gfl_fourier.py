# The pair, distilled with the published settings; method=... takes another way. The teacher's neck
# and head are wider than the student's, so there is nothing to inherit.
_base_ = "gfl_student.py"

method = "published"
model = dict(teacher=dict(model={{_base_._teacher}}, checkpoint=None))  # a study fills it in
