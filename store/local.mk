# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += store/libstore.a
store_libstore_a_SOURCES = \
	store/catalog.c store/catalog.h store/catalog_files.h \
	store/current.c store/current.h \
	store/db.c store/db.h \
	store/hf.c store/hf.h \
	store/retention.c store/retention.h \
	store/safetensors.c store/safetensors.h \
	store/schema.c store/schema.h \
	store/store.c store/store.h store/store_change.c store/store_private.h \
	store/version_files.c store/version_files.h \
	store/version_read.c

STORE_LIBS = store/libstore.a $(BASE_LIBS) $(SQLITE_LIBS)

if HAVE_CMOCKA
check_PROGRAMS += tests/test_safetensors
tests_test_safetensors_SOURCES = tests/test_safetensors.c
tests_test_safetensors_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_safetensors_LDADD = $(STORE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_current
tests_test_current_SOURCES = tests/test_current.c
tests_test_current_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_current_LDADD = $(STORE_LIBS) $(CMOCKA_LIBS)
endif
