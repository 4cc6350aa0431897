/* SPDX-License-Identifier: Apache-2.0 */
/* export_private.h - the formats of export.c, each in a file of its own. */
#ifndef MNEME_INTERCHANGE_EXPORT_PRIVATE_H
#define MNEME_INTERCHANGE_EXPORT_PRIVATE_H

#include "interchange/export.h"

/* Write and sync the files in the folder dir. */
int export_hf(struct export_model *m, enum gguf_type type, const char *dir,
              struct export_report *report, struct err *err);
int export_gguf(struct export_model *m, enum gguf_type type, const char *dir,
                struct export_report *report, struct err *err);

/* Checks that GGUF can hold the model. */
int export_gguf_check(const struct export_model *m, enum gguf_type type,
                      struct err *err);

/* The error when a tensor has a number that does not fit. */
int export_unfit(const struct tensor *t, enum gguf_type type, struct err *err);

#endif
