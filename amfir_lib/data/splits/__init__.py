"""Class lists of published few-shot splits, with their source; read by ``amfir_lib.data.class_split``."""
