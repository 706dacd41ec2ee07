# PSPNet-R101 (78.34 mIoU) teaches PSPNet-R18.
_base_ = "pspnet_r18-d8_4xb2-40k_cityscapes-512x512.py"

method = "published"
teacher_metric = dict(mIoU=78.34)
model = dict(
    teacher=dict(
        model="mmseg::pspnet/pspnet_r101-d8_4xb2-40k_cityscapes-512x1024.py",
        checkpoint="https://mmassets.onedl.ai/mmsegmentation/v0.5/pspnet/pspnet_r101-d8_512x1024_40k_cityscapes/"
        "pspnet_r101-d8_512x1024_40k_cityscapes_20200604_232751-467e7cf4.pth",
    ),
)
