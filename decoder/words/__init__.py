"""Words: sentences, pronunciations, language models, decoding to words and its errors."""
