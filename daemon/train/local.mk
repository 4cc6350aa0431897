# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += daemon/train/libtrain.a
daemon_train_libtrain_a_SOURCES = \
	daemon/train/import_directory.c daemon/train/import_directory.h \
	daemon/train/forget.c daemon/train/forget.h \
	daemon/train/inbox.c daemon/train/inbox.h \
	daemon/train/learning.c daemon/train/learning.h \
	daemon/train/options.c daemon/train/options.h \
	daemon/train/pace.c daemon/train/pace.h \
	daemon/train/restore.c daemon/train/restore.h \
	daemon/train/retrain.c daemon/train/retrain.h \
	daemon/train/retrain_compare.c daemon/train/retrain_compare.h \
	daemon/train/retrain_settings.c \
	daemon/train/rewind.c daemon/train/rewind.h \
	daemon/train/trainer.c daemon/train/trainer.h \
	daemon/train/trainer_board.c daemon/train/trainer_board.h

TRAIN_LIBS = daemon/train/libtrain.a interchange/libinterchange.a $(PUBLISH_LIBS)
