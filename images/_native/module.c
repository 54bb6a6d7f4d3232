/* SPDX-License-Identifier: Apache-2.0 */
/* The limited-API binding: checks lengths and alignment, releases the interpreter lock, calls. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "buffers.h"
#include "kernels.h"

#include <string.h>

static const struct kernel {
    const char *name;
    scan_function *scan;
} kernels[] = {
#if defined(__x86_64__)
    {"avx512", scan_avx512},
    {"avx2", scan_avx2},
#elif defined(__aarch64__)
    {"neon", scan_neon},
#endif
    {"portable", scan_portable},
};

static bool runs_here(const struct kernel *kernel)
{
#if defined(__x86_64__)
    if (strcmp(kernel->name, "avx512") == 0)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vbmi");
    if (strcmp(kernel->name, "avx2") == 0)
        return __builtin_cpu_supports("avx2");
#else
    (void)kernel;
#endif
    return true;
}

static PyObject *py_kernels(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < sizeof kernels / sizeof *kernels; i++) {
        if (!runs_here(&kernels[i]))
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
    scan_function *scan = NULL;
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
        if (strcmp(kernels[i].name, name) == 0 && runs_here(&kernels[i]))
            scan = kernels[i].scan;
    PyObject *result = NULL;
    if (scan == NULL)
        PyErr_Format(PyExc_ValueError, "no kernel %s on this CPU", name);
    else if (value < 1 || value > UINT32_MAX)
        PyErr_SetString(PyExc_ValueError, "a discriminator is within 1..2**32-1");
    else if (data.len < WINDOW || !aligned_words(&bits) ||
             (data.len - WINDOW + 63) / 64 * 8 > bits.len)
        PyErr_SetString(PyExc_ValueError, "data needs 48 bytes in front, bits a word for each 64");
    else {
        struct divisor divisor = divisor_of((uint32_t)value);
        Py_BEGIN_ALLOW_THREADS
        scan((const uint8_t *)data.buf + WINDOW, (size_t)data.len - WINDOW, bits.buf, &divisor);
        Py_END_ALLOW_THREADS
        result = Py_NewRef(Py_None);
    }
    PyBuffer_Release(&data);
    PyBuffer_Release(&bits);
    return result;
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
    bool zero;
    Py_BEGIN_ALLOW_THREADS
    zero = is_zero(data.buf, (size_t)data.len);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&data);
    return PyBool_FromLong(zero);
}

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
        size_t found;
        Py_BEGIN_ALLOW_THREADS
        found = find_block(old.buf, new.buf, (size_t)old.len, (size_t)lead, (size_t)block,
                           (size_t)start, differs != 0);
        Py_END_ALLOW_THREADS
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
    {"scan", py_scan, METH_VARARGS, NULL},
    {"cuts_at", py_cuts_at, METH_VARARGS, NULL},
    {"find_bit", py_find_bit, METH_VARARGS, NULL},
    {"is_zero", py_is_zero, METH_O, NULL},
    {"find_block", py_find_block, METH_VARARGS, NULL},
    {"first_bad_item", py_first_bad_item, METH_VARARGS, NULL},
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
