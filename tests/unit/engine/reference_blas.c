/* SPDX-License-Identifier: Apache-2.0
 * Stands behind libblas.so.3 as a BLAS that is not OpenBLAS. Never called: the worker refuses to start. */
void sgemm_(void);
void sgemm_(void) {}
