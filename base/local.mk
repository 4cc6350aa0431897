# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += base/libbase.a
base_libbase_a_SOURCES = \
	base/buf.c base/buf.h \
	base/cancel.h \
	base/checksum.c base/checksum.h \
	base/err.c base/err.h \
	base/fileio.c base/fileio.h \
	base/json_value.c base/json_value.h \
	base/lines.c base/lines.h \
	base/log.c base/log.h \
	base/model_shape.h \
	base/names.c base/names.h \
	base/rng.c base/rng.h \
	base/segment.h \
	base/sqlite_err.c base/sqlite_err.h \
	base/tensor.c base/tensor.h \
	base/timing.c base/timing.h \
	base/utf8.c base/utf8.h \
	base/xalloc.c base/xalloc.h

BASE_LIBS = base/libbase.a $(CRYPTO_LIBS) $(JANSSON_LIBS) $(XXHASH_LIBS) \
	$(ZSTD_LIBS) $(ZLIB_LIBS)

if HAVE_CMOCKA
check_PROGRAMS += tests/test_err
tests_test_err_SOURCES = tests/test_err.c \
	tests/base_util.c tests/base_util.h
tests_test_err_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_err_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_xalloc
tests_test_xalloc_SOURCES = tests/test_xalloc.c \
	tests/base_util.c tests/base_util.h
tests_test_xalloc_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_xalloc_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_buf
tests_test_buf_SOURCES = tests/test_buf.c \
	tests/base_util.c tests/base_util.h
tests_test_buf_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_buf_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_rng
tests_test_rng_SOURCES = tests/test_rng.c
tests_test_rng_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_rng_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_checksum
tests_test_checksum_SOURCES = tests/test_checksum.c \
	tests/base_util.c tests/base_util.h
tests_test_checksum_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_checksum_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_timing
tests_test_timing_SOURCES = tests/test_timing.c \
	tests/base_util.c tests/base_util.h
tests_test_timing_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_timing_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_utf8
tests_test_utf8_SOURCES = tests/test_utf8.c
tests_test_utf8_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_utf8_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_json_value
tests_test_json_value_SOURCES = tests/test_json_value.c
tests_test_json_value_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_json_value_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_tensor
tests_test_tensor_SOURCES = tests/test_tensor.c \
	tests/base_util.c tests/base_util.h
tests_test_tensor_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_tensor_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_names
tests_test_names_SOURCES = tests/test_names.c
tests_test_names_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_names_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_segment
tests_test_segment_SOURCES = tests/test_segment.c
tests_test_segment_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_segment_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_fileio
tests_test_fileio_SOURCES = tests/test_fileio.c \
	tests/base_util.c tests/base_util.h
tests_test_fileio_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_fileio_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_log
tests_test_log_SOURCES = tests/test_log.c \
	tests/base_util.c tests/base_util.h
tests_test_log_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_log_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_lines
tests_test_lines_SOURCES = tests/test_lines.c
tests_test_lines_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_lines_LDADD = $(BASE_LIBS) $(CMOCKA_LIBS)
endif
