/* SPDX-License-Identifier: Apache-2.0 */
/*
 * measures.h - measures of learning and forgetting.
 *
 * They are computed from a matrix a: double[n][n], one row after another.
 * a[i][j] is the loss on the held-out records of domain j, in bits per byte,
 * after domain i was learned. Rows and columns are in the order of learning,
 * and n is the number of domains. A measure that the matrix does not define is
 * NaN.
 *
 * Sources: backward transfer (Lopez-Paz and Ranzato 2017), forgetting (Chaudhry
 * et al. 2018), average anytime accuracy (Caccia et al. 2022); the signs are
 * those of losses, for which lower is better.
 *
 * Threads: any; pure functions
 */
#ifndef MNEME_EVAL_MEASURES_H
#define MNEME_EVAL_MEASURES_H

#include <stddef.h>

double measures_mean(const double *values, size_t n);

/* The mean of the last row. */
double measures_final_mean(const double *a, size_t n);

/* The mean over all domains j but the last of a[j][j] - a[n-1][j]: below zero
 * when later domains have made earlier ones worse. NaN for n < 2. */
double measures_backward_transfer(const double *a, size_t n);

/* The mean over all domains j but the last of a[n-1][j] - min over i < n-1 of
 * a[i][j]: what was lost of the best loss so far. NaN for n < 2. */
double measures_forgetting(const double *a, size_t n);

/* a[n-1][n-1]: the loss of the newest domain, just after it was learned. */
double measures_newest(const double *a, size_t n);

/*
 * The largest loss of a domain before it is learned: of start[j] and a[i][j],
 * i < j.
 *   start  double[n], the losses before anything was learned
 */
double measures_worst_unseen(const double *start, const double *a, size_t n);

/* (naive - ours) / (naive - joint), three final means: 0 is no better than no
 * protection, 1 as good as learning all records shuffled. NaN when naive and
 * joint are equal. */
double measures_retention(double naive, double ours, double joint);

/* The mean over i of the mean over j <= i of a[i][j]: how good the model is on
 * average, whenever it is asked about what it has learned. With accuracies: the
 * average anytime accuracy. */
double measures_anytime(const double *a, size_t n);

#endif
