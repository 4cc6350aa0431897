# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += learner/tokenizer/libtokenizer.a
learner_tokenizer_libtokenizer_a_SOURCES = \
	learner/tokenizer/builtin_merges.c learner/tokenizer/builtin_merges.h \
	learner/tokenizer/cut.c learner/tokenizer/cut.h \
	learner/tokenizer/grams.c learner/tokenizer/grams.h \
	learner/tokenizer/nfc.c learner/tokenizer/nfc.h \
	learner/tokenizer/nfc_tables.c learner/tokenizer/nfc_tables.h \
	learner/tokenizer/pretoken.c learner/tokenizer/pretoken.h \
	learner/tokenizer/tokenizer.c learner/tokenizer/tokenizer.h \
	learner/tokenizer/tokenizer_private.h \
	learner/tokenizer/tokenizer_encode.c \
	learner/tokenizer/tokenizer_json.c \
	learner/tokenizer/tokenizer_train.c \
	learner/tokenizer/unicode_classes.c learner/tokenizer/unicode_classes.h
learner_tokenizer_libtokenizer_a_CFLAGS = $(AM_CFLAGS) $(PIC_CFLAGS) -fno-math-errno -fno-trapping-math

TOKENIZER_LIBS = learner/tokenizer/libtokenizer.a $(BASE_LIBS)
EXTRA_DIST += learner/tokenizer/unicode_classes.py
EXTRA_DIST += learner/tokenizer/nfc_tables.py

# Learns the built-in merges: `make learner/tokenizer/train_merges`.
EXTRA_PROGRAMS += learner/tokenizer/train_merges
learner_tokenizer_train_merges_SOURCES = learner/tokenizer/train_merges.c
learner_tokenizer_train_merges_LDADD = $(TOKENIZER_LIBS)
CLEANFILES += learner/tokenizer/train_merges
EXTRA_DIST += learner/tokenizer/builtin_merges.py
