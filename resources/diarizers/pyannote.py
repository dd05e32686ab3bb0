"""Who speaks when, by pyannote.audio 4 (to be installed by yourself: pip install pyannote.audio).

    diarize: {file: resources/diarizers/pyannote.py, gpu: true,
              model: pyannote/speaker-diarization-community-1, options: {max_speakers: 4}}

The model asks on its page on the hub for your consent; `hf auth login` tells the hub who you are. Named like this it is
fetched before a GPU is taken, and loaded from its folder.
"""


def load(model="pyannote/speaker-diarization-community-1", revision=None, **speakers):
    """Return a function from samples (float32, 16 kHz) to (start, end, speaker); ``speakers`` bound their number.

    Known are num_speakers, min_speakers and max_speakers.
    """
    import torch
    from pyannote.audio import Pipeline

    pipeline = Pipeline.from_pretrained(model, revision=revision)
    if pipeline is None:
        raise RuntimeError(f"{model} cannot be had: is its licence accepted on the hub, and `hf auth login` done?")
    if torch.cuda.is_available():
        pipeline.to(torch.device("cuda"))

    def diarize(samples):
        sound = {"waveform": torch.from_numpy(samples.copy())[None], "sample_rate": 16_000}
        found = pipeline(sound, **speakers).speaker_diarization
        return [(turn.start, turn.end, speaker) for turn, _, speaker in found.itertracks(yield_label=True)]

    return diarize
