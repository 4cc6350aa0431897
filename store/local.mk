# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += store/libstore.a
store_libstore_a_SOURCES = \
	store/backup.c store/backup.h \
	store/backup_copy.c store/backup_copy.h store/backup_restore.c \
	store/catalog.c store/catalog.h store/catalog_private.h \
	store/catalog_lists.c \
	store/current.c store/current.h \
	store/db.c store/db.h \
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
	store/tags.c store/tags.h \
	store/tombstones.c store/tombstones.h \
	store/version_files.c store/version_files.h \
	store/store_load.c \
	store/wal.c store/wal.h
store_libstore_a_CFLAGS = $(AM_CFLAGS) $(PIC_CFLAGS)

STORE_LIBS = store/libstore.a $(BASE_LIBS) $(SQLITE_LIBS) -lm
