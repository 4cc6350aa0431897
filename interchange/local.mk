# SPDX-License-Identifier: Apache-2.0
#
# Reads and writes the model files of other programs.
noinst_LIBRARIES += interchange/libinterchange.a
interchange_libinterchange_a_SOURCES = \
	interchange/export.c interchange/export.h \
	interchange/export_gguf.c interchange/export_hf.c \
	interchange/export_private.h \
	interchange/gguf_format.c interchange/gguf_format.h \
	interchange/gguf_names.c interchange/gguf_names.h \
	interchange/gguf_reader.c interchange/gguf_reader.h \
	interchange/gguf_tokenizer.c interchange/gguf_tokenizer.h \
	interchange/gguf_writer.c interchange/gguf_writer.h \
	interchange/import.c interchange/import.h \
	interchange/import_gguf.c interchange/import_gguf.h \
	interchange/import_gguf_tokenizer.c
interchange_libinterchange_a_CFLAGS = $(AM_CFLAGS) $(PIC_CFLAGS)

INTERCHANGE_LIBS = interchange/libinterchange.a $(STORE_LIBS)
