"""A run's ``config.yaml``, written by the Lightning CLI as it was given."""

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from lightning import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback
from typing_extensions import override

from experiments.run.configuration import with_interpolations

# Lightning has defaults (a Timer's interval) that PyYAML would not write.
yaml.SafeDumper.add_multi_representer(Enum, lambda dumper, value: dumper.represent_data(value.value))


class RunParser(LightningArgumentParser):
    """The Lightning CLI's parser, which also keeps a configuration as it was before ``${…}`` was resolved.

    Attributes:
        written: what was parsed last, if it had any.
    """

    written: Mapping[str, Any] = MappingProxyType({})

    @override
    def dump(self, *args: Any, **options: Any) -> str:
        text: str = super().dump(*args, **options)
        if "${" in text:
            # jsonargparse hands itself the configuration in this form in order to resolve it.
            self.written = yaml.safe_load(text)
        return text


class SaveRunConfig(SaveConfigCallback):
    """Writes the complete configuration to the run's own folder, as ``config.yaml``, with its ``${…}`` in place."""

    @override
    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":  # a later look at a run is not what the run was
            return
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        written = self.parser.written if isinstance(self.parser, RunParser) else {}
        content = with_interpolations(yaml.safe_load(self.parser.dump(self.config, skip_unset=False)), written)
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
        # A configuration may be what the run was begun by, and a kill must not leave half of one.
        unfinished = folder / f"{self.config_filename}.unfinished"
        unfinished.write_text(f"# {', '.join(self.parser.dump_header or [])}\n{text}", encoding="utf-8")
        unfinished.replace(folder / self.config_filename)
