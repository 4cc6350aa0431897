// SPDX-License-Identifier: Apache-2.0
// What text is measured by: the loss in bits per byte; or, by a model without
// a loss (preset linear), the percentage of labels that are wrong. Both are
// better when they are lower.

import {bits} from "./dom.js";

export const hasLabelsOnly = status =>
  status.loss.prequential_bits_per_byte === null && status.accuracy !== null;

export const unitOf = status =>
  hasLabelsOnly(status) ? "% of labels wrong" : "bits per byte";

const wrong = accuracy => accuracy === null ? null : 100 * (1 - accuracy);

// Of a domain's newest text, before it was learned.
export function newLoss(status, domain) {
  return hasLabelsOnly(status) ? wrong(domain.accuracy)
                               : domain.prequential_bits_per_byte;
}

// Of a version, on a domain's held-out text; null: none.
export function heldLoss(status, version, domain) {
  const held = version && version.holdout[domain];
  if (!held) return null;
  return hasLabelsOnly(status) ? wrong(held.accuracy) : held.bits_per_byte;
}

// The lowest one of the version and its ancestors. The gate knows it for
// losses; for labels it is the lowest one of the versions that are kept.
export function bestLoss(status, versions, version, domain) {
  if (!hasLabelsOnly(status))
    return version.gate && version.gate.best ?
      version.gate.best[domain] : undefined;
  return Math.min(...versions.filter(v => v.version <= version.version)
    .map(v => heldLoss(status, v, domain)).filter(x => x !== null));
}

export const digits = status => hasLabelsOnly(status) ? 1 : 3;
export const shown = (status, x) => bits(x, hasLabelsOnly(status) ? 1 : 2);
