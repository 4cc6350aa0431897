# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += base/libbase.a
base_libbase_a_SOURCES = \
	base/buf.c base/buf.h \
	base/cancel.h \
	base/checksum.c base/checksum.h \
	base/err.c base/err.h \
	base/fileio.c base/fileio.h \
	base/half.h \
	base/heap.h \
	base/json_value.c base/json_value.h \
	base/lines.c base/lines.h \
	base/log.c base/log.h \
	base/model_shape.h \
	base/names.c base/names.h \
	base/priority.c base/priority.h \
	base/rng.c base/rng.h \
	base/segment.h \
	base/split_patterns.h \
	base/sqlite_err.c base/sqlite_err.h \
	base/tensor.c base/tensor.h \
	base/timing.c base/timing.h \
	base/utf8.c base/utf8.h \
	base/xalloc.c base/xalloc.h
base_libbase_a_CFLAGS = $(AM_CFLAGS) $(PIC_CFLAGS)

BASE_LIBS = base/libbase.a $(CRYPTO_LIBS) $(JANSSON_LIBS) $(XXHASH_LIBS) \
	$(ZSTD_LIBS) $(ZLIB_LIBS)
