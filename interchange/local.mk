# SPDX-License-Identifier: Apache-2.0
#
# Reads and writes the model files of other programs.
noinst_LIBRARIES += interchange/libinterchange.a
interchange_libinterchange_a_SOURCES = \
	interchange/gguf_format.c interchange/gguf_format.h
interchange_libinterchange_a_CFLAGS = $(AM_CFLAGS) $(PIC_CFLAGS)

INTERCHANGE_LIBS = interchange/libinterchange.a $(TOKENIZER_LIBS) $(STORE_LIBS)
