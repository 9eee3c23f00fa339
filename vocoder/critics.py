"""The adversaries of a training run, by name."""

from torch import nn

from vocoder.config import AdversarialConfig
from vocoder.discriminators import Opinion
from vocoder.losses import Sound
from vocoder.multi_period import MultiPeriodDiscriminator
from vocoder.multi_scale import MultiScaleDiscriminator
from vocoder.spectrogram_discriminators import SpectrogramDiscriminators


class Critic(nn.Module):
    """All discriminators of a configuration."""

    def __init__(self, config: AdversarialConfig, n_resolutions: int) -> None:
        super().__init__()
        self.families: nn.ModuleList
        match config.kind:
            case "spectrogram":
                self.families = nn.ModuleList([SpectrogramDiscriminators(config.channels, n_resolutions)])
            case "hifigan":
                families = [MultiPeriodDiscriminator(config.channels), MultiScaleDiscriminator(config.channels)]
                self.families = nn.ModuleList(families)

    def forward(self, sound: Sound) -> list[Opinion]:
        """Opinions on a batch, one a discriminator."""
        return [opinion for family in self.families for opinion in family(sound)]
