"""What the pipelines have in common: they are diffusers' pipelines, but for loading, which is strict."""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, ParamSpec, Self, TypeVar, cast

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from huggingface_hub import create_repo, upload_folder
from torch import Tensor

from jdap.diffusion.denoiser import JointDenoiser, Pair
from jdap.diffusion.samplers import OnStep, Step
from jdap.diffusion.schedule import NoiseSchedule
from jdap.io.assets import find_folder
from jdap.io.files import replace_folder
from jdap.models.loading import WeightsError, diffusers_unheard, one_line
from jdap.pipelines.card import model_card
from jdap.pipelines.weights import INDEX, SCHEDULER, Kinds, forget_paths, read_index, read_part, write_index

#: The tensor that callbacks may see and change: both halves side by side, (B, 2·C, h, w).
LATENTS = "latents"
#: As in diffusers: (pipeline, index of the step, timestep, tensors by name) → the tensors that change.
Callback = Callable[[Any, int, int, dict[str, Tensor]], dict[str, Tensor]]


class JointPipeline(DiffusionPipeline):
    """A diffusers pipeline of registered components that samples RGB and depth at once.

    Subclasses say :attr:`kinds`, in the order of loading, :attr:`remedy`, the command that trains such weights, and
    :attr:`pipeline_tag`, the hub's name for what they do.
    """

    kinds: ClassVar[Kinds] = {}
    remedy: ClassVar[str] = ""
    pipeline_tag: str = ""
    _callback_tensor_inputs: ClassVar[list[str]] = [LATENTS]
    _num_timesteps = 0

    def _register(self, components: dict[str, Any], settings: dict[str, Any]) -> None:
        """Take components, and settings that the index holds. Raises ValueError for a scheduler that is not ours."""
        if isinstance(components[SCHEDULER], NoiseSchedule):
            components = components | {SCHEDULER: components[SCHEDULER].scheduler()}
        NoiseSchedule.from_scheduler(components[SCHEDULER])
        self.register_modules(**components)
        self.register_to_config(**settings)
        for name, value in settings.items():
            setattr(self, name, value)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        name: str | Path,
        *,
        dtype: torch.dtype | None = None,
        torch_dtype: torch.dtype | None = None,
        revision: str | None = None,
        **components: Any,
    ) -> Self:
        """The pipeline of weights, on the CPU, in evaluation mode.

        Args:
            name: a folder, ``shipped:NAME``, or ``OWNER/NAME[@REVISION]`` of the hub.
            dtype: of the networks; float32 unless given. ``torch_dtype`` is its older name.
            revision: of the hub's repository.
            components: parts to use in place of the folder's, by name.

        Raises:
            WeightsError: for anything missing, unexpected or unreadable, in one line.
            FileNotFoundError: for a name that does not ship.
        """
        unknown = sorted(components.keys() - cls.kinds.keys())
        if unknown:
            raise TypeError(f"{cls.__name__} has no {', '.join(unknown)}; it has {', '.join(cls.kinds)}")
        folder = find_folder(name, f"train one with `{cls.remedy}`", revision)
        index = read_index(folder / INDEX, cls, cls.kinds, cls._optional_components, cls.remedy)
        parts = cls._read_parts(folder, index, components)
        _, settings = cls._get_signature_keys(cls)
        missing = [name for name in settings if name not in index]
        if missing:
            raise WeightsError(f"{folder / INDEX}: {', '.join(missing)} missing; export the weights again")
        try:
            made = cls(**parts, **{name: index[name] for name in settings})
        # Parts and settings that do not go together fail in as many ways as there are.
        except Exception as error:
            raise WeightsError(f"{folder}: {one_line(error)}") from error
        made.register_to_config(_name_or_path=str(name))
        wanted = dtype or torch_dtype
        return made if wanted is None else made.to(wanted)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """As diffusers' pipelines, without its warnings: of modules to be kept in float32, of which it names none, and
        of float16 on the CPU, which :mod:`torch` has learnt."""
        with diffusers_unheard():
            moved: Self = super().to(*args, **kwargs)
        return moved

    @classmethod
    def _read_parts(cls, folder: Path, index: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        """Components by name, those that are given and the folder's."""
        own = {
            name: read_part(index[name], folder / name) if index[name] else None
            for name in cls.kinds
            if name not in given
        }
        return own | given

    def save_pretrained(  # type: ignore[override]
        self,
        save_directory: str | Path,
        extras: Callable[[Path], None] | None = None,
        *,
        safe_serialization: bool = True,
    ) -> None:
        """Write a weights folder in diffusers' layout, whole or not at all; an existing one is replaced.

        ``extras`` may put further files into the folder, or replace its model card, before it gets its name. Raises
        ValueError for ``safe_serialization`` False: only safetensors are written.
        """
        if not safe_serialization:
            raise ValueError("pickled weights can run code: only safetensors are written")
        folder = Path(save_directory)
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        components = {name: getattr(self, name) for name in self.kinds}
        # what torch.compile wraps is the network all the same
        components = {name: getattr(x, "_orig_mod", x) for name, x in components.items()}
        for name, component in components.items():
            if component is not None:
                component.save_pretrained(part / name)
        write_index(part, type(self), {name: self._kind(name, x) for name, x in components.items()}, self.settings())
        (part / "README.md").write_text(model_card(self, name=folder.name), encoding="utf-8")
        if extras is not None:
            extras(part)
        forget_paths(part)
        replace_folder(part, folder)

    def settings(self) -> dict[str, Any]:
        """What the index says beside the components, as JSON has it."""
        _, names = self._get_signature_keys(type(self))
        return {name: getattr(self, name) for name in names}

    def _kind(self, name: str, component: Any) -> type | None:
        """The class of a component; a network that was wrapped while it trained is of the class it was built as."""
        return next((kind for kind in self.kinds[name] if isinstance(component, kind)), None)

    def push_to_hub(  # type: ignore[override]
        self,
        repo_id: str,
        *,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        create_pr: bool = False,
    ) -> str:
        """Upload the weights folder, model card and all, to a repository of the hub; returns the commit's address."""
        repo_id = create_repo(repo_id, private=private, token=token, exist_ok=True).repo_id
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / repo_id.split("/")[-1]
            self.save_pretrained(folder)
            message = commit_message or f"Upload {type(self).__name__}"
            return str(
                upload_folder(
                    repo_id=repo_id, folder_path=folder, commit_message=message, token=token, create_pr=create_pr
                )
            )

    def quiet(self) -> Self:
        """Show no bar of steps; returns itself."""
        self.set_progress_bar_config(disable=True)
        return self

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule that the scheduler stands for."""
        return NoiseSchedule.from_scheduler(self.scheduler)

    @property
    def denoiser(self) -> JointDenoiser:
        """The schedule's algebra."""
        return JointDenoiser(self.schedule)

    @property
    def num_timesteps(self) -> int:
        """Network calls of the sampling run that is under way, or was last."""
        return self._num_timesteps

    @contextlib.contextmanager
    def _steps(
        self, calls: int, callback: Callback | None, wanted: Sequence[str], passed: int = 0, to_come: int = 0
    ) -> Iterator[OnStep]:
        """What sampling is to tell of its steps: a bar shows them (not of a single one), the callback sees them.

        ``passed`` and ``to_come``: network calls of the same answer before and after these. Raises ValueError for
        tensors that callbacks cannot see.
        """
        wanted = getattr(callback, "tensor_inputs", wanted)  # of diffusers' PipelineCallback
        if any(name not in self._callback_tensor_inputs for name in wanted):
            raise ValueError(
                f"callback_on_step_end_tensor_inputs must be among {self._callback_tensor_inputs}, got {list(wanted)}"
            )
        self._num_timesteps = total = passed + calls + to_come
        with self.progress_bar(total=total) if total > 1 else contextlib.nullcontext() as bar:
            if bar is not None:
                bar.update(passed)

            def on_step(step: Step) -> Pair:
                latents = step.latents
                if callback is not None:
                    seen = {name: torch.cat(latents, dim=1) for name in wanted}
                    changed = callback(self, passed + step.number, step.timestep, seen) or {}
                    if LATENTS in changed:
                        latents = Pair(*changed[LATENTS].chunk(2, dim=1))
                if bar is not None:
                    bar.update()
                return latents

            yield on_step


P = ParamSpec("P")
T = TypeVar("T")


def question(method: Callable[P, T]) -> Callable[P, T]:
    """A pipeline's method that asks the networks: without gradients; offloaded networks then leave the device."""

    @functools.wraps(method)
    @torch.no_grad()
    def asked(self: JointPipeline, *args: Any, **kwargs: Any) -> Any:
        try:
            return cast(Any, method)(self, *args, **kwargs)
        finally:
            self.maybe_free_model_hooks()

    return cast(Callable[P, T], asked)
