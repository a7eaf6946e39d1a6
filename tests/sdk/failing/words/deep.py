def choose(words: dict[str, str], word: str) -> str:
    return words[word]
