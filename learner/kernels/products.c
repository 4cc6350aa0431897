/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "learner/kernels/products.h"

#include "learner/kernels/packed.h"
#include "learner/kernels/panels.h"

/* The size of a block of the right-hand side: the panels of one tile, and an
 * inner dimension that keeps the block in the second-level cache. */
#define BLOCK_PANELS 4
#define BLOCK_INNER 512

/* below this the layout in panels costs more than it saves */
#define FEWEST_ROWS 16

/* Rows at a time when x is read down its columns, whose cache lines are read
 * again for each block of columns. */
#define COLUMN_ROWS 768

/* Computes n_panels panels of columns, from `column` on. */
static void multiply_columns(const struct product *p, size_t column,
                             size_t n_panels)
{
    _Alignas(64) float block[BLOCK_PANELS * PANEL * BLOCK_INNER];

    for (size_t k = 0; k < p->inner; k += BLOCK_INNER) {
        size_t left = p->inner - k;
        size_t inner = left < BLOCK_INNER ? left : BLOCK_INNER;
        const struct kernel_rows rows = {.y = p->y + column,
                                         .y_stride = p->y_stride,
                                         .x = p->x + k * p->x_step,
                                         .x_stride = p->x_stride,
                                         .x_step = p->x_step,
                                         .n = p->n,
                                         .accumulate = p->accumulate || k > 0};
        const struct kernel_panels panels = {.w = block,
                                             .w_stride = inner * PANEL,
                                             .in = inner,
                                             .n_panels = n_panels};

        if (p->b_is_transposed)
            panels_lay_columns(block, inner, 0, p->b + column * p->b_stride + k,
                               p->b_stride, n_panels * PANEL);
        else
            panels_lay_rows(block, inner, n_panels * PANEL, 0,
                            p->b + k * p->b_stride + column, p->b_stride,
                            inner);
        packed_kernels()->f32(&rows, &panels);
    }
}

static void multiply(const struct product *p, size_t n_panels)
{
    for (size_t done = 0; done < n_panels; done += BLOCK_PANELS) {
        size_t left = n_panels - done;

        multiply_columns(p, done * PANEL,
                         left < BLOCK_PANELS ? left : BLOCK_PANELS);
    }
}

size_t products_run(const struct product *p)
{
    size_t n_panels = p->columns / PANEL;
    size_t most = p->x_step == 1 ? p->n : COLUMN_ROWS;

    if (!packed_kernels()->beats_blas || p->n < FEWEST_ROWS || p->inner == 0)
        return 0;
    for (size_t i = 0; i < p->n; i += most) {
        struct product some = *p;

        some.y += i * p->y_stride;
        some.x += i * p->x_stride;
        some.n = p->n - i < most ? p->n - i : most;
        multiply(&some, n_panels);
    }
    return n_panels * PANEL;
}
