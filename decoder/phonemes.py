"""The CTC class inventories of the public datasets; class 0 is the blank."""

BLANK = 0
SEPARATOR = "SIL"

# The 39 ARPAbet phonemes without stress, classes 1 to 39, in the order of both public
# releases (nejm-brain-to-text, neural_seq_decoder). Class 40 separates words.
# fmt: off
ARPABET = (
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH",
    "IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH",
    "UW", "V", "W", "Y", "Z", "ZH",
)
# fmt: on
CLASSES = ("BLANK", *ARPABET, SEPARATOR)
N_CLASSES = len(CLASSES)
SEPARATOR_ID = CLASSES.index(SEPARATOR)
