# SPDX-License-Identifier: Apache-2.0
bin_PROGRAMS += cli/mneme
cli_mneme_SOURCES = \
	cli/address.c cli/address.h \
	cli/bar.c cli/bar.h \
	cli/client.c cli/client.h \
	cli/cmd_ask.c \
	cli/cmd_backup.c \
	cli/cmd_bench.c \
	cli/cmd_demo.c \
	cli/cmd_feed.c \
	cli/cmd_quarantine.c \
	cli/cmd_rollback.c \
	cli/cmd_status.c \
	cli/cmd_verify.c \
	cli/cmd_versions.c \
	cli/commands.h \
	cli/demo_daemon.c cli/demo_daemon.h \
	cli/demo_run.c cli/demo_run.h \
	cli/demo_text.c cli/demo_text.h \
	cli/help.c cli/help.h \
	cli/live.c cli/live.h \
	cli/mneme.c \
	cli/operation.c cli/operation.h \
	cli/pick.c cli/pick.h \
	cli/pieces.c cli/pieces.h \
	cli/producer.c cli/producer.h \
	cli/program.c cli/program.h \
	cli/table.c cli/table.h \
	cli/verb.c cli/verb.h

# verify reads a data directory without the daemon; bench runs its parts.
cli_mneme_LDADD = $(BENCH_LIBS) $(JANSSON_LIBS) $(CURL_LIBS)

