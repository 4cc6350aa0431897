# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += store/libstore.a
store_libstore_a_SOURCES = \
	store/backup.c store/backup.h store/backup_copy.c \
	store/backup_private.h store/backup_restore.c \
	store/catalog.c store/catalog.h store/catalog_private.h \
	store/catalog_files.c store/catalog_files.h \
	store/catalog_guard.c \
	store/catalog_lists.c \
	store/catalog_quarantine.c \
	store/catalog_version.c \
	store/current.c store/current.h \
	store/db.c store/db.h store/db_private.h \
	store/db_open.c \
	store/hf.c store/hf.h \
	store/pages.c store/pages.h \
	store/ranges.c store/ranges.h \
	store/releases.c store/releases.h \
	store/retention.c store/retention.h \
	store/safetensors.c store/safetensors.h \
	store/safetensors_header.c store/safetensors_header.h \
	store/schema.c store/schema.h \
	store/store.c store/store.h store/store_change.c store/store_private.h \
	store/store_publish.c \
	store/tombstones.c store/tombstones.h \
	store/version_files.c store/version_files.h \
	store/version_read.c \
	store/wal.c store/wal.h

STORE_LIBS = store/libstore.a $(BASE_LIBS) $(SQLITE_LIBS) -lm

if HAVE_CMOCKA
check_PROGRAMS += tests/test_safetensors
tests_test_safetensors_SOURCES = tests/test_safetensors.c
tests_test_safetensors_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_safetensors_LDADD = $(STORE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_current
tests_test_current_SOURCES = tests/test_current.c
tests_test_current_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_current_LDADD = $(STORE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_hf
tests_test_hf_SOURCES = tests/test_hf.c
tests_test_hf_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_hf_LDADD = $(STORE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_store
tests_test_store_SOURCES = tests/test_store.c \
	tests/store_util.c tests/store_util.h
tests_test_store_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_store_LDADD = $(STORE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_store_faults
tests_test_store_faults_SOURCES = tests/test_store_faults.c \
	tests/fault_vfs.c tests/fault_vfs.h \
	tests/store_util.c tests/store_util.h
tests_test_store_faults_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_store_faults_LDADD = $(STORE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_damage
tests_test_damage_SOURCES = tests/test_damage.c \
	tests/store_util.c tests/store_util.h
tests_test_damage_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_damage_LDADD = $(STORE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_store_change
tests_test_store_change_SOURCES = tests/test_store_change.c \
	tests/store_util.c tests/store_util.h
tests_test_store_change_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_store_change_LDADD = $(STORE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_retention
tests_test_retention_SOURCES = tests/test_retention.c \
	tests/store_util.c tests/store_util.h
tests_test_retention_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_retention_LDADD = $(STORE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_crash
tests_test_crash_SOURCES = tests/test_crash.c \
	tests/fault_vfs.c tests/fault_vfs.h \
	tests/store_util.c tests/store_util.h
tests_test_crash_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_crash_LDADD = $(STORE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_faults
tests_test_faults_SOURCES = tests/test_faults.c \
	tests/fault_vfs.c tests/fault_vfs.h \
	tests/store_util.c tests/store_util.h
tests_test_faults_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_faults_LDADD = $(STORE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_catalog
tests_test_catalog_SOURCES = tests/test_catalog.c \
	tests/store_util.c tests/store_util.h
tests_test_catalog_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_catalog_LDADD = $(STORE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_releases
tests_test_releases_SOURCES = tests/test_releases.c \
	tests/store_util.c tests/store_util.h
tests_test_releases_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_releases_LDADD = $(STORE_LIBS) $(CMOCKA_LIBS)

check_PROGRAMS += tests/test_tombstones
tests_test_tombstones_SOURCES = tests/test_tombstones.c \
	tests/fault_vfs.c tests/fault_vfs.h \
	tests/store_util.c tests/store_util.h
tests_test_tombstones_CPPFLAGS = $(AM_CPPFLAGS) $(CMOCKA_CFLAGS)
tests_test_tombstones_LDADD = $(STORE_LIBS) $(CMOCKA_LIBS)
endif

# Loads what it wrote with transformers, where there is one: by hand, with
#   top_builddir=. python3 tests/compat_hf.py
EXTRA_DIST += tests/compat_hf.py
EXTRA_PROGRAMS += tests/write_hf
tests_write_hf_SOURCES = tests/write_hf.c
tests_write_hf_LDADD = $(STORE_LIBS)
CLEANFILES += tests/write_hf
