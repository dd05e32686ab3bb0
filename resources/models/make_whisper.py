"""Make the stand-in for Whisper: the real architecture, tiny, with seeded random weights and a tokenizer of its own.

    python resources/models/make_whisper.py [--out DIR] [--seed N]

It is loaded by the code that loads openai/whisper-large-v3-turbo and writes nonsense. The same seed gives the same
bytes.
"""

import argparse
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

HERE = Path(__file__).resolve().parent
LANGUAGES = ("ko", "en")
CONTROL = ("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>")
SENTENCES = (
    "안녕하세요 고객님 무엇을 도와드릴까요", "네 상담원입니다 잠시만 기다려 주세요", "계좌 번호를 말씀해 주시겠어요",
    "오늘 오후 세 시에 회의가 있습니다", "택배가 아직 도착하지 않았어요", "계약서를 검토한 뒤에 다시 연락드리겠습니다",
    "비밀번호는 누구에게도 알려 주지 마세요", "예약을 내일 오전으로 바꾸고 싶습니다", "감사합니다 좋은 하루 보내세요",
)  # fmt: skip


def make_tokenizer(folder: Path) -> WhisperTokenizer:
    """Write a byte-level BPE of a few hundred pieces with Whisper's special tokens; returns it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=sorted(alphabet), show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = dict(model["vocab"])
    vocabulary["<|endoftext|>"] = len(vocabulary)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    whisper = WhisperTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    special = ["<|startoftranscript|>", *(f"<|{language}|>" for language in LANGUAGES), *CONTROL]
    whisper.add_tokens(special, special_tokens=True)
    whisper.add_tokens([f"<|{step * 0.02:.2f}|>" for step in range(1501)])
    return whisper


def make_model(tokenizer: WhisperTokenizer, seed: int) -> WhisperForConditionalGeneration:
    """Return a tiny Whisper with random weights and the generation settings that transformers expects of one."""
    token = tokenizer.convert_tokens_to_ids
    torch.manual_seed(seed)
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        pad_token_id=token("<|endoftext|>"),
        bos_token_id=token("<|endoftext|>"),
        eos_token_id=token("<|endoftext|>"),
        decoder_start_token_id=token("<|startoftranscript|>"),
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        bos_token_id=token("<|endoftext|>"),
        eos_token_id=token("<|endoftext|>"),
        pad_token_id=token("<|endoftext|>"),
        decoder_start_token_id=token("<|startoftranscript|>"),
        is_multilingual=True,
        lang_to_id={f"<|{language}|>": token(f"<|{language}|>") for language in LANGUAGES},
        task_to_id={"transcribe": token("<|transcribe|>"), "translate": token("<|translate|>")},
        no_timestamps_token_id=token("<|notimestamps|>"),
        prev_sot_token_id=token("<|startofprev|>"),
        max_initial_timestamp_index=50,
        max_length=448,
        return_timestamps=False,
    )
    return model


def main() -> None:
    """Read the arguments and write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "whisper-random")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    tokenizer = make_tokenizer(arguments.out)
    make_model(tokenizer, arguments.seed).save_pretrained(str(arguments.out))
    WhisperProcessor(WhisperFeatureExtractor(feature_size=80), tokenizer).save_pretrained(str(arguments.out))
    for name in ("vocab.json", "merges.txt"):  # tokenizer.json holds them
        (arguments.out / name).unlink()
    print(arguments.out, sum(file.stat().st_size for file in arguments.out.iterdir()), "bytes")


if __name__ == "__main__":
    main()
