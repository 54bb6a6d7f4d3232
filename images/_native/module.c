/* SPDX-License-Identifier: Apache-2.0 */
/* The limited-API binding: checks lengths and alignment, releases the interpreter lock, calls. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "buffers.h"
#include "digests.h"
#include "kernels.h"

#include <string.h>

static const struct kernel {
    const char *name;
    scan_function *scan;
    digest_function *digest; /* NULL where one piece after the other, as OpenSSL does it, is best */
} kernels[] = {
#if defined(__x86_64__)
    {"avx512", scan_avx512, digest_avx512},
    {"avx2", scan_avx2, digest_avx2},
#elif defined(__aarch64__)
    {"neon", scan_neon, NULL},
#endif
    {"portable", scan_portable, NULL},
};

static bool runs_here(const struct kernel *kernel)
{
#if defined(__x86_64__)
    if (strcmp(kernel->name, "avx512") == 0)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi");
    if (strcmp(kernel->name, "avx2") == 0)
        return __builtin_cpu_supports("avx2");
#else
    (void)kernel;
#endif
    return true;
}

static PyObject *names_of(bool digesting)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < sizeof kernels / sizeof *kernels; i++) {
        if (!runs_here(&kernels[i]) || (digesting && kernels[i].digest == NULL))
            continue;
        PyObject *name = PyUnicode_FromString(kernels[i].name);
        if (name == NULL || PyList_Append(list, name) < 0)
            Py_CLEAR(list);
        Py_XDECREF(name);
    }
    if (list == NULL)
        return NULL;
    PyObject *names = PyList_AsTuple(list);
    Py_DECREF(list);
    return names;
}

static PyObject *py_kernels(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return names_of(false);
}

static PyObject *py_digest_kernels(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return names_of(true);
}

/* NULL, with an exception set, when there is none. */
static const struct kernel *kernel_named(const char *name)
{
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
        if (strcmp(kernels[i].name, name) == 0 && runs_here(&kernels[i]))
            return &kernels[i];
    PyErr_Format(PyExc_ValueError, "no kernel %s on this CPU", name);
    return NULL;
}

static bool aligned_words(const Py_buffer *view)
{
    return (uintptr_t)view->buf % sizeof(uint64_t) == 0 && (size_t)view->len % sizeof(uint64_t) == 0;
}

static PyObject *py_scan(PyObject *module, PyObject *args)
{
    (void)module;
    const char *name;
    Py_buffer data, bits;
    unsigned long long value;
    if (!PyArg_ParseTuple(args, "sy*w*K:scan", &name, &data, &bits, &value))
        return NULL;
    const struct kernel *kernel = kernel_named(name);
    PyObject *result = NULL;
    if (kernel == NULL)
        ; /* the exception is set */
    else if (value < 1 || value > UINT32_MAX)
        PyErr_SetString(PyExc_ValueError, "a discriminator is within 1..2**32-1");
    else if (data.len < WINDOW || !aligned_words(&bits) ||
             (data.len - WINDOW + 63) / 64 * 8 > bits.len)
        PyErr_SetString(PyExc_ValueError, "data needs 48 bytes in front, bits a word for each 64");
    else {
        struct divisor divisor = divisor_of((uint32_t)value);
        Py_BEGIN_ALLOW_THREADS
        kernel->scan((const uint8_t *)data.buf + WINDOW, (size_t)data.len - WINDOW, bits.buf,
                     &divisor);
        Py_END_ALLOW_THREADS
        result = Py_NewRef(Py_None);
    }
    PyBuffer_Release(&data);
    PyBuffer_Release(&bits);
    return result;
}

/* Take the buffers of a list; return how many, fewer than `count` with an exception set. */
static Py_ssize_t take_buffers(PyObject *list, Py_ssize_t count, Py_buffer *views,
                               struct piece *pieces)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyList_GetItem(list, i); /* checks the length: code may run below */
        if (item == NULL || PyObject_GetBuffer(item, &views[i], PyBUF_SIMPLE) < 0)
            return i;
        pieces[i] = (struct piece){views[i].buf, (uint64_t)views[i].len};
    }
    return count;
}

static PyObject *py_digest_each(PyObject *module, PyObject *args)
{
    (void)module;
    const char *name;
    PyObject *list;
    if (!PyArg_ParseTuple(args, "sO!:digest_each", &name, &PyList_Type, &list))
        return NULL;
    const struct kernel *kernel = kernel_named(name);
    if (kernel == NULL)
        return NULL;
    if (kernel->digest == NULL)
        return PyErr_Format(PyExc_ValueError, "kernel %s does not digest", name);
    const Py_ssize_t count = PyList_Size(list);
    Py_buffer *views = PyMem_Calloc((size_t)count + 1, sizeof *views);
    struct piece *pieces = PyMem_Calloc((size_t)count + 1, sizeof *pieces);
    PyObject *digests = PyBytes_FromStringAndSize(NULL, count * DIGEST_LENGTH);
    if (views == NULL || pieces == NULL)
        PyErr_NoMemory();
    Py_ssize_t taken = PyErr_Occurred() ? 0 : take_buffers(list, count, views, pieces);
    if (PyErr_Occurred())
        Py_CLEAR(digests);
    else {
        uint8_t *to = (uint8_t *)PyBytes_AsString(digests);
        Py_BEGIN_ALLOW_THREADS
        kernel->digest(pieces, (size_t)count, to);
        Py_END_ALLOW_THREADS
    }
    while (taken > 0)
        PyBuffer_Release(&views[--taken]);
    PyMem_Free(views);
    PyMem_Free(pieces);
    return digests;
}

static PyObject *py_cuts_at(PyObject *module, PyObject *args)
{
    (void)module;
    unsigned long long hash, value;
    if (!PyArg_ParseTuple(args, "KK:cuts_at", &hash, &value))
        return NULL;
    if (hash > UINT32_MAX || value < 1 || value > UINT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "a hash is below 2**32, a discriminator also not 0");
        return NULL;
    }
    struct divisor divisor = divisor_of((uint32_t)value);
    return PyBool_FromLong(is_cut(&divisor, (uint32_t)hash));
}

static PyObject *py_find_bit(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer bits;
    Py_ssize_t start, stop;
    if (!PyArg_ParseTuple(args, "y*nn:find_bit", &bits, &start, &stop))
        return NULL;
    PyObject *result = NULL;
    if (start < 0 || !aligned_words(&bits) || stop > bits.len * 8)
        PyErr_SetString(PyExc_ValueError, "start or stop is outside of bits");
    else if (stop <= start)
        result = PyLong_FromSsize_t(stop);
    else
        result = PyLong_FromSize_t(find_bit(bits.buf, (size_t)start, (size_t)stop));
    PyBuffer_Release(&bits);
    return result;
}

static PyObject *py_is_zero(PyObject *module, PyObject *object)
{
    (void)module;
    Py_buffer data;
    if (PyObject_GetBuffer(object, &data, PyBUF_SIMPLE) < 0)
        return NULL;
    bool zero = head_is_zero(data.buf, (size_t)data.len);
    if (zero) { /* else handing over the interpreter lock would cost more than looking */
        Py_BEGIN_ALLOW_THREADS
        zero = is_zero(data.buf, (size_t)data.len);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&data);
    return PyBool_FromLong(zero);
}

/* Bytes that are compared in less time than it takes to hand the interpreter lock over and get it
 * back, some 20 us when others want it. */
#define SHORT_WORK (256 << 10)

static PyObject *py_find_block(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer old, new;
    Py_ssize_t lead, block, start;
    int differs;
    if (!PyArg_ParseTuple(args, "y*y*nnnp:find_block", &old, &new, &lead, &block, &start, &differs))
        return NULL;
    PyObject *result = NULL;
    if (old.len != new.len || lead < 1 || block < 1 || start < 0)
        PyErr_SetString(PyExc_ValueError, "buffers of one length, and blocks of 1 byte or more");
    else {
        PyThreadState *released = old.len > SHORT_WORK ? PyEval_SaveThread() : NULL;
        size_t found = find_block(old.buf, new.buf, (size_t)old.len, (size_t)lead, (size_t)block,
                                  (size_t)start, differs != 0);
        if (released != NULL)
            PyEval_RestoreThread(released);
        result = PyLong_FromSize_t(found);
    }
    PyBuffer_Release(&old);
    PyBuffer_Release(&new);
    return result;
}

static PyObject *py_first_bad_item(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer items;
    unsigned long long maximum;
    if (!PyArg_ParseTuple(args, "y*K:first_bad_item", &items, &maximum))
        return NULL;
    PyObject *result = NULL;
    if (items.len % ITEM_LENGTH != 0)
        PyErr_SetString(PyExc_ValueError, "items are 40 bytes each");
    else
        result = PyLong_FromSize_t(
            first_bad_item(items.buf, (size_t)items.len / ITEM_LENGTH, maximum));
    PyBuffer_Release(&items);
    return result;
}

static PyObject *py_item_at(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer items;
    unsigned long long offset;
    if (!PyArg_ParseTuple(args, "y*K:item_at", &items, &offset))
        return NULL;
    PyObject *result = NULL;
    if (items.len % ITEM_LENGTH != 0)
        PyErr_SetString(PyExc_ValueError, "items are 40 bytes each");
    else
        result = PyLong_FromSize_t(item_at(items.buf, (size_t)items.len / ITEM_LENGTH, offset));
    PyBuffer_Release(&items);
    return result;
}

/* `table` is a buffer of u32, its length a power of two above the number of items. */
static bool usable_table(const Py_buffer *items, const Py_buffer *table, const Py_buffer *key)
{
    size_t slots = (size_t)table->len / sizeof(uint32_t);
    size_t count = (size_t)items->len / ITEM_LENGTH;
    if (items->len % ITEM_LENGTH == 0 && (uintptr_t)table->buf % sizeof(uint32_t) == 0 &&
        (size_t)table->len % sizeof(uint32_t) == 0 && slots > count && (slots & (slots - 1)) == 0 &&
        count < NO_ITEM && key->len == 2 * sizeof(uint64_t))
        return true;
    PyErr_SetString(PyExc_ValueError, "items, table and key do not fit together");
    return false;
}

static PyObject *py_table_fill(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer items, table, key;
    if (!PyArg_ParseTuple(args, "y*w*y*:table_fill", &items, &table, &key))
        return NULL;
    PyObject *result = NULL;
    if (usable_table(&items, &table, &key)) {
        uint64_t keys[2];
        memcpy(keys, key.buf, sizeof keys);
        result = PyLong_FromSize_t(table_fill(items.buf, (size_t)items.len / ITEM_LENGTH,
                                              table.buf,
                                              (size_t)table.len / sizeof(uint32_t), keys));
    }
    PyBuffer_Release(&items);
    PyBuffer_Release(&table);
    PyBuffer_Release(&key);
    return result;
}

static PyObject *py_table_find(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer items, table, key, id;
    if (!PyArg_ParseTuple(args, "y*y*y*y*:table_find", &items, &table, &key, &id))
        return NULL;
    PyObject *result = NULL;
    if (id.len != ID_LENGTH)
        PyErr_SetString(PyExc_ValueError, "a chunk id is 32 bytes");
    else if (usable_table(&items, &table, &key)) {
        uint64_t keys[2];
        memcpy(keys, key.buf, sizeof keys);
        uint32_t found = table_find(items.buf, (size_t)items.len / ITEM_LENGTH, table.buf,
                                    (size_t)table.len / sizeof(uint32_t), keys, id.buf);
        result = found == NO_ITEM ? PyLong_FromLong(-1) : PyLong_FromUnsignedLong(found);
    }
    PyBuffer_Release(&items);
    PyBuffer_Release(&table);
    PyBuffer_Release(&key);
    PyBuffer_Release(&id);
    return result;
}

static PyMethodDef methods[] = {
    {"kernels", py_kernels, METH_NOARGS, NULL},
    {"digest_kernels", py_digest_kernels, METH_NOARGS, NULL},
    {"scan", py_scan, METH_VARARGS, NULL},
    {"digest_each", py_digest_each, METH_VARARGS, NULL},
    {"cuts_at", py_cuts_at, METH_VARARGS, NULL},
    {"find_bit", py_find_bit, METH_VARARGS, NULL},
    {"is_zero", py_is_zero, METH_O, NULL},
    {"find_block", py_find_block, METH_VARARGS, NULL},
    {"first_bad_item", py_first_bad_item, METH_VARARGS, NULL},
    {"item_at", py_item_at, METH_VARARGS, NULL},
    {"table_fill", py_table_fill, METH_VARARGS, NULL},
    {"table_find", py_table_find, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "images._native._kernels",
    .m_doc = "Leaf kernels over buffers and numbers; see _kernels.pyi.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__kernels(void)
{
    return PyModuleDef_Init(&definition);
}
