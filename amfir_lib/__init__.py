"""The AMFIR study: few-shot action recognition with active multimodal distillation, from video files to tables."""

__version__ = "0.2.0"
