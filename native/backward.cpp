// The backward pass for the usual case: gradients are arrays, all leaves are wanted, nobody has hooks. It does what autograd/engine.py does,
// in the same order (newest node first), and leaves everything else to it: `backward` answers False before anything has changed.
#include "linear.h"
#include "objects.h"
#include "pool.h"
#include "record.h"

#include <algorithm>
#include <unordered_map>
#include <vector>

namespace rushlight {
namespace {

// What the pass knows of a node class; classes of nodes live as long as the process.
enum Form { GENERAL, UNARY, BINARY, LINEAR, RECORD };
struct ClassInfo {
    Form form = GENERAL;
    char saves = 0;                                     // UNARY: 'x', 'y' or 0
    PyObject *first = nullptr, *second = nullptr;       // gradients on arrays
    bool frees = false;                                 // has a `free` of its own
};

PyObject *unary_class = nullptr, *binary_class = nullptr, *node_class = nullptr, *apply_fix = nullptr, *by_sample = nullptr, *not_batched = nullptr,
         *not_plain = nullptr;
PyObject *add_kernel = nullptr, *plain_free = nullptr;
PyObject *name_arrays, *name_free, *name_outputs, *name_accumulate, *one;
Py_ssize_t port_node, port_index, leaf_tensor;
std::unordered_map<PyTypeObject*, ClassInfo>* classes = new std::unordered_map<PyTypeObject*, ClassInfo>;

PyObject* class_attribute(PyTypeObject* type, const char* name) {
    PyObject* found = PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), name);
    if (found == nullptr) PyErr_Clear();
    if (found == Py_None) Py_CLEAR(found);
    return found;  // kept for good
}

// Whether a class of record nodes has a method as RecordNode has it.
bool same_method(PyTypeObject* type, const char* name) {
    PyObject *own = class_attribute(type, name), *general = class_attribute(records.node, name);
    const bool same = own == general;
    Py_XDECREF(own);
    Py_XDECREF(general);
    return same;
}

const ClassInfo& info_of(PyTypeObject* type) {
    auto found = classes->find(type);
    if (found != classes->end()) return found->second;
    ClassInfo info;
    if (PyType_IsSubtype(type, reinterpret_cast<PyTypeObject*>(unary_class))) {
        info.first = class_attribute(type, "agrad");
        PyObject* saves = class_attribute(type, "saves");
        const char* text = saves == nullptr ? "" : PyUnicode_AsUTF8(saves);
        info.saves = *text;
        Py_XDECREF(saves);
        if (info.first != nullptr) info.form = UNARY;
    } else if (PyType_IsSubtype(type, reinterpret_cast<PyTypeObject*>(binary_class))) {
        info.first = class_attribute(type, "ada");
        info.second = class_attribute(type, "adb");
        if (info.first != nullptr && info.second != nullptr) info.form = BINARY;
    } else if (is_linear_node(type)) {
        info.form = LINEAR;
    } else if (records.node != nullptr && PyType_IsSubtype(type, records.node) && same_method(type, "arrays") && same_method(type, "values")) {
        info.form = RECORD;
    }
    PyObject* own = class_attribute(type, "free");
    info.frees = own != plain_free;
    Py_XDECREF(own);
    return classes->emplace(type, info).first->second;
}

struct Entry {
    PyObject* node;               // a strong reference
    PyObject* pending = nullptr;  // the gradient so far: an array, or a list of them where the node has several outputs
    long long seq = 0;
    int waiting = 0;  // of a leaf: edges whose gradients are still to come
    bool leaf = false;
};

class Pass {
  public:
    ~Pass() {
        for (Entry& entry : entries_) {
            Py_DECREF(entry.node);
            Py_XDECREF(entry.pending);
        }
    }

    // 1: all nodes below the roots can run here; 0: they can't; -1: error.
    int collect(PyObject* roots) {
        resize(64);
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(roots); ++i) {
            PyObject* pair = PyList_GET_ITEM(roots, i);
            if (!PyTuple_CheckExact(pair) || PyTuple_GET_SIZE(pair) != 2 || !PyArray_CheckExact(PyTuple_GET_ITEM(pair, 1))) return 0;
            if (!visit(PyTuple_GET_ITEM(pair, 0))) return 0;
        }
        for (std::size_t at = 0; at < entries_.size(); ++at) {  // entries_ grows while it is walked
            if (entries_[at].leaf) continue;
            PyObject* node = entries_[at].node;
            PyObject* next = slot(node, layout.next);
            if (next == nullptr || !PyTuple_CheckExact(next)) return 0;
            for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(next); ++i) {
                if (!visit(PyTuple_GET_ITEM(next, i))) return 0;
            }
            order_.push_back(static_cast<int>(at));
        }
        std::sort(order_.begin(), order_.end(), [this](int a, int b) { return entries_[a].seq > entries_[b].seq; });
        return 1;
    }

    bool run(PyObject* roots, bool retain) {
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(roots); ++i) {
            PyObject* pair = PyList_GET_ITEM(roots, i);
            if (!send(PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1))) return false;
        }
        if (PyList_SetSlice(roots, 0, PyList_GET_SIZE(roots), nullptr) < 0 || !finish_leaves()) return false;
        for (int at : order_) {
            PyObject* g = entries_[at].pending;
            if (g == nullptr) continue;
            entries_[at].pending = nullptr;
            const bool good = step(entries_[at].node, g, retain);  // takes g
            if (!good || !finish_leaves()) return false;
        }
        return true;
    }

  private:
    // Makes an edge's node known; false where the pass can't handle it.
    bool visit(PyObject* edge) {
        if (edge == Py_None) return true;
        if (Py_TYPE(edge) == layout.port) edge = slot(edge, port_node);
        bool fresh;
        const int at = find(edge, &fresh);
        Entry& entry = entries_[at];
        if (fresh) {
            entry.leaf = Py_TYPE(edge) == layout.leaf;
            if (!entry.leaf && !PyObject_TypeCheck(edge, reinterpret_cast<PyTypeObject*>(node_class))) return false;
            if (slot(edge, layout.hooks) != Py_None) return false;
            if (!entry.leaf) {
                PyObject* seq = slot(edge, layout.seq);
                if (seq == nullptr || !PyLong_CheckExact(seq)) return false;
                entry.seq = PyLong_AsLongLong(seq);
            }
        }
        if (entry.leaf) ++entry.waiting;
        return true;
    }

    // The index of a node's entry, made where there is none yet.
    int find(PyObject* node, bool* fresh) {
        if (entries_.size() * 2 >= table_.size()) resize(table_.size() * 2);
        std::size_t place = hash(node);
        while (table_[place] >= 0) {
            if (entries_[table_[place]].node == node) {
                *fresh = false;
                return table_[place];
            }
            place = (place + 1) & (table_.size() - 1);
        }
        *fresh = true;
        table_[place] = static_cast<int>(entries_.size());
        Entry entry;
        entry.node = Py_NewRef(node);
        entries_.push_back(entry);
        return table_[place];
    }

    std::size_t hash(PyObject* node) const {
        return ((reinterpret_cast<std::uintptr_t>(node) >> 4) * 0x9E3779B97F4A7C15ull >> 20) & (table_.size() - 1);
    }

    void resize(std::size_t size) {
        table_.assign(size, -1);
        for (std::size_t at = 0; at < entries_.size(); ++at) {
            std::size_t place = hash(entries_[at].node);
            while (table_[place] >= 0) place = (place + 1) & (size - 1);
            table_[place] = static_cast<int>(at);
        }
    }

    // Adds a gradient to what is pending in a place. Takes over a sum that nobody else holds.
    static bool add(PyObject** place, PyObject* grad) {
        if (*place == nullptr) {
            *place = Py_NewRef(grad);
            return true;
        }
        PyObject* operands[2] = {*place, grad};
        const bool plain = PyArray_CheckExact(*place) && PyArray_CheckExact(grad);
        if (plain && Py_REFCNT(*place) == 1 && grows_in_place(as_array(*place), as_array(grad))) {
            PyObject* sum = PyNumber_InPlaceAdd(*place, grad);
            Py_XDECREF(sum);
            return sum != nullptr;
        }
        PyObject* sum = plain ? PyObject_Vectorcall(add_kernel, operands, 2, nullptr) : PyNumber_Add(*place, grad);
        if (sum == nullptr) return false;
        Py_SETREF(*place, sum);
        return true;
    }

    // Large sums that nobody else holds need no new memory.
    static bool grows_in_place(PyArrayObject* sum, PyArrayObject* grad) {
        return PyArray_SIZE(sum) >= ELEMENTS_PER_THREAD && PyArray_BASE(sum) == nullptr && PyArray_ISWRITEABLE(sum) &&
               PyArray_TYPE(sum) == PyArray_TYPE(grad) && same_shape(sum, grad);
    }

    bool send(PyObject* edge, PyObject* grad) {
        if (edge == Py_None) return true;
        PyObject* node = edge;
        const bool port = Py_TYPE(edge) == layout.port;
        if (port) node = slot(edge, port_node);
        bool fresh;
        const int at = find(node, &fresh);
        Entry& entry = entries_[at];
        if (grad != Py_None) {
            PyObject** place = &entry.pending;
            if (port) {
                if (entry.pending == nullptr && (entry.pending = outputs_of(node)) == nullptr) return false;
                const Py_ssize_t index = PyLong_AsSsize_t(slot(edge, port_index));
                if (PyList_GetItem(entry.pending, index) == nullptr) return false;
                place = &reinterpret_cast<PyListObject*>(entry.pending)->ob_item[index];
                if (*place == Py_None) {
                    Py_SETREF(*place, Py_NewRef(grad));
                    place = nullptr;
                }
            }
            if (place != nullptr && !add(place, grad)) return false;
        }
        if (entry.leaf && --entry.waiting == 0) ready_.push_back(at);
        return true;
    }

    // [None] * outputs
    static PyObject* outputs_of(PyObject* node) {
        PyObject* count = PyObject_GetAttr(node, name_outputs);
        if (count == nullptr) return nullptr;
        const Py_ssize_t n = PyLong_AsSsize_t(count);
        Py_DECREF(count);
        PyObject* list = n < 0 ? nullptr : PyList_New(n);
        for (Py_ssize_t i = 0; list != nullptr && i < n; ++i) PyList_SET_ITEM(list, i, Py_NewRef(Py_None));
        return list;
    }

    // Runs a node with the gradient g (taken over) and sends on what comes out.
    bool step(PyObject* node, PyObject* g, bool retain) {
        const ClassInfo& info = info_of(Py_TYPE(node));
        PyObject *out[3] = {}, *grads = nullptr;  // either a gradient per input, or all of them as a sequence
        int quick = !PyArray_CheckExact(g) ? 0 : info.form == RECORD ? record_gradients(node, g, &grads) : gradients(info, node, g, out);
        if (quick <= 0) clear(out);
        if (quick == 0) {
            PyObject* args[2] = {node, g};
            grads = PyObject_VectorcallMethod(name_arrays, args, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr);
        }
        if (quick <= 0 && grads == nullptr && !rescue(node, g, &grads)) {
            Py_DECREF(g);
            return false;
        }
        bool good = true;
        PyObject* fix = slot(node, layout.fix);
        if (fix != Py_None && !all_fit(fix, grads, out)) {
            if (grads == nullptr) {
                grads = PyTuple_GET_SIZE(slot(node, layout.next)) == 1 ? PyTuple_Pack(1, out[0]) : PyTuple_Pack(2, out[0], out[1]);
                clear(out);
            }
            PyObject* args[3] = {node, grads, Py_False};
            PyObject* fixed = grads == nullptr ? nullptr : PyObject_Vectorcall(apply_fix, args, 3, nullptr);
            Py_XSETREF(grads, fixed);
            good = fixed != nullptr;
        }
        Py_DECREF(g);
        if (good && !retain) good = let_go(info, node);
        if (good) good = grads == nullptr ? send_each(node, out) : send_all(node, grads);
        clear(out);
        Py_XDECREF(grads);
        return good;
    }

    // Whether the gradients (a tuple, or up to three in `out`) are already as `fix` asks for.
    static bool all_fit(PyObject* fix, PyObject* grads, PyObject* const* out) {
        if (!PyTuple_CheckExact(fix)) return false;  // results that are batched by vmap
        const Py_ssize_t n = PyTuple_GET_SIZE(fix);
        if (grads != nullptr && (!PyTuple_CheckExact(grads) || PyTuple_GET_SIZE(grads) != n)) return false;
        for (Py_ssize_t i = 0; i < n; ++i) {
            if (!fits(grads != nullptr ? PyTuple_GET_ITEM(grads, i) : out[i], PyTuple_GET_ITEM(fix, i))) return false;
        }
        return true;
    }

    static void clear(PyObject** out) {
        for (int i = 0; i < 3; ++i) Py_CLEAR(out[i]);
    }

    // 1: done; 0: left to the node's own method (which also says what is wrong); -1: error.
    static int gradients(const ClassInfo& info, PyObject* node, PyObject* g, PyObject** out) {
        switch (info.form) {
            case UNARY: return unary(info, node, g, &out[0]);
            case BINARY: return binary(info, node, g, &out[0], &out[1]);
            case LINEAR: return linear(node, g, out);
            default: return 0;
        }
    }

    // An op that can't compute on batched arrays (vmap) is run sample by sample; any other error stays one.
    static bool rescue(PyObject* node, PyObject* g, PyObject** grads) {
        if (!PyErr_ExceptionMatches(not_batched)) return false;
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        PyErr_NormalizeException(&type, &value, &traceback);
        PyObject* args[4] = {node, g, Py_False, value};
        *grads = PyObject_Vectorcall(by_sample, args, 4, nullptr);
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
        return *grads != nullptr;
    }

    static bool let_go(const ClassInfo& info, PyObject* node) {
        if (info.frees) {
            PyObject* done = PyObject_CallMethodNoArgs(node, name_free);
            Py_XDECREF(done);
            return done != nullptr;
        }
        PyObject* saved = slot(node, layout.saved);
        if (saved != nullptr && !(PyTuple_CheckExact(saved) && PyTuple_GET_SIZE(saved) == 0)) {
            slot(node, layout.saved) = Py_NewRef(Py_None);
            Py_DECREF(saved);
        }
        return true;
    }

    static PyObject* call(PyObject* function, PyObject* g, PyObject* a, PyObject* b, int count) {
        PyObject* args[3] = {g, a, b};
        return PyObject_Vectorcall(function, args, count, nullptr);
    }

    static bool version_is(PyObject* tensor, PyObject* expected) {
        PyObject* now = version_number(tensor);
        const bool same = now == expected || PyObject_RichCompareBool(now, expected, Py_EQ) == 1;
        Py_DECREF(now);
        return same;
    }

    static bool versions_are(PyObject* a, PyObject* b, PyObject* expected) {
        PyObject *va = version_number(a), *vb = version_number(b), *sum = PyNumber_Add(va, vb);
        const bool same = sum != nullptr && PyObject_RichCompareBool(sum, expected, Py_EQ) == 1;
        Py_DECREF(va);
        Py_DECREF(vb);
        Py_XDECREF(sum);
        return same;
    }

    static int unary(const ClassInfo& info, PyObject* node, PyObject* g, PyObject** out) {
        PyObject* saved = slot(node, layout.saved);
        if (saved == nullptr) return 0;
        if (info.saves == 0) {
            *out = call(info.first, g, nullptr, nullptr, 1);
        } else if (saved == Py_None) {
            return 0;
        } else if (info.saves == 'x') {
            if (!is_tensor(saved) || !version_is(saved, slot(node, layout.version_of))) return 0;
            *out = call(info.first, g, slot(saved, layout.array), nullptr, 2);
        } else {
            PyObject* version = slot(node, layout.version_of);
            if (Py_TYPE(version) != layout.version || slot(version, layout.n) != layout.zero) return 0;
            *out = call(info.first, g, saved, nullptr, 2);
        }
        return *out == nullptr ? -1 : 1;
    }

    static int binary(const ClassInfo& info, PyObject* node, PyObject* g, PyObject** first, PyObject** second) {
        PyObject *saved = slot(node, layout.saved), *next = slot(node, layout.next);
        if (saved == nullptr || !PyTuple_CheckExact(saved) || PyTuple_GET_SIZE(next) != 2) return 0;
        PyObject *a = Py_None, *b = Py_None;
        if (PyTuple_GET_SIZE(saved) == 2) {
            PyObject *ta = PyTuple_GET_ITEM(saved, 0), *tb = PyTuple_GET_ITEM(saved, 1), *expected = slot(node, layout.version_of);
            if ((ta != Py_None && !is_tensor(ta)) || (tb != Py_None && !is_tensor(tb))) return 0;
            if (ta != Py_None && tb != Py_None) {
                if (!versions_are(ta, tb, expected)) return 0;
            } else if (ta != Py_None || tb != Py_None) {
                if (!version_is(ta != Py_None ? ta : tb, expected)) return 0;
            }
            if (ta != Py_None) a = slot(ta, layout.array);
            if (tb != Py_None) b = slot(tb, layout.array);
        }
        // The arrays stay alive: the node holds their tensors, and frees them only after this.
        *first = PyTuple_GET_ITEM(next, 0) == Py_None ? Py_NewRef(Py_None) : call(info.first, g, a, b, 3);
        *second = *first == nullptr || PyTuple_GET_ITEM(next, 1) == Py_None ? Py_NewRef(Py_None) : call(info.second, g, a, b, 3);
        return *first == nullptr || *second == nullptr ? -1 : 1;
    }

    static int linear(PyObject* node, PyObject* g, PyObject** out) {
        PyObject* saved = slot(node, layout.saved);
        if (saved == nullptr || !PyTuple_CheckExact(saved) || PyTuple_GET_SIZE(saved) != 2) return 0;
        PyObject *input = PyTuple_GET_ITEM(saved, 0), *weight = PyTuple_GET_ITEM(saved, 1);
        if (!is_any_tensor(input) || !is_any_tensor(weight)) return 0;
        PyObject *x = slot(input, layout.array), *w = slot(weight, layout.array);
        if (!PyArray_CheckExact(x) || !PyArray_CheckExact(w) || !versions_are(input, weight, slot(node, layout.version_of))) return 0;
        return linear_gradients(slot(node, layout.next), as_array(g), as_array(x), as_array(w), out);
    }

    bool send_each(PyObject* node, PyObject* const* out) {
        PyObject* next = slot(node, layout.next);
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(next); ++i) {
            if (!send(PyTuple_GET_ITEM(next, i), out[i])) return false;
        }
        return true;
    }

    bool send_all(PyObject* node, PyObject* grads) {
        PyObject* items = PySequence_Fast(grads, "gradients are a sequence");
        if (items == nullptr) return false;
        PyObject* next = slot(node, layout.next);
        const Py_ssize_t count = PyTuple_GET_SIZE(next);
        bool good = true;
        for (Py_ssize_t i = 0; good && i < count; ++i) {
            if (PyTuple_GET_ITEM(next, i) == Py_None) continue;
            if (i >= PySequence_Fast_GET_SIZE(items)) {
                PyErr_Format(PyExc_IndexError, "%R gave %zd gradients for %zd inputs", node, PySequence_Fast_GET_SIZE(items), count);
                good = false;
                break;
            }
            good = send(PyTuple_GET_ITEM(next, i), PySequence_Fast_GET_ITEM(items, i));
        }
        Py_DECREF(items);
        return good;
    }

    bool finish_leaves() {
        for (std::size_t i = 0; i < ready_.size(); ++i) {
            Entry& entry = entries_[ready_[i]];
            PyObject* g = entry.pending;
            entry.pending = nullptr;
            if (g != nullptr && !accumulate(entry.node, g)) return false;
        }
        ready_.clear();
        return true;
    }

    // Puts the finished gradient (taken over) into the leaf's tensor.
    static bool accumulate(PyObject* leaf, PyObject* g) {
        PyObject* tensor = PyWeakref_GetObject(slot(leaf, leaf_tensor));
        if (tensor == Py_None) {
            Py_DECREF(g);
            return true;
        }
        if (PyArray_CheckExact(g) && is_any_tensor(tensor)) {
            PyObject* old = slot(tensor, layout.grad);
            if (old == Py_None) return first_gradient(tensor, g);
            if (is_tensor(old) && PyArray_CheckExact(slot(old, layout.array)) && add_in_place(old, as_array(g))) {
                Py_DECREF(g);
                return !PyErr_Occurred();
            }
            if (PyErr_Occurred()) {
                Py_DECREF(g);
                return false;
            }
        }
        PyObject* args[2] = {leaf, g};
        PyObject* done = PyObject_VectorcallMethod(name_accumulate, args, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr);
        Py_XDECREF(done);
        Py_DECREF(g);
        return done != nullptr;
    }

    static bool first_gradient(PyObject* tensor, PyObject* g) {
        if (Py_REFCNT(g) > 1 || PyArray_BASE(as_array(g)) != nullptr || !PyArray_ISWRITEABLE(as_array(g))) {  // the memory may be somebody else's
            PyObject* copy = copy_in_order(as_array(g));
            Py_DECREF(g);
            if (copy == nullptr) return false;
            g = copy;
        }
        PyObject* grad = make_tensor(g, slot(tensor, layout.kind));
        if (grad == nullptr) return false;
        Py_SETREF(slot(tensor, layout.grad), grad);
        return true;
    }

    static bool add_in_place(PyObject* old, PyArrayObject* g) {
        PyArrayObject* array = as_array(slot(old, layout.array));
        if (!PyArray_ISWRITEABLE(array) || PyArray_TYPE(array) != PyArray_TYPE(g) || !same_shape(array, g)) return false;
        PyObject* sum = PyNumber_InPlaceAdd(reinterpret_cast<PyObject*>(array), reinterpret_cast<PyObject*>(g));
        if (sum == nullptr) return false;
        Py_DECREF(sum);
        PyObject* version = PyNumber_InPlaceAdd(slot(old, layout.ver), one);
        if (version == nullptr) return false;
        Py_SETREF(slot(old, layout.ver), version);
        return true;
    }

    std::vector<Entry> entries_;
    std::vector<int> table_, order_, ready_;
};

PyObject* backward(PyObject*, PyObject* const* args, Py_ssize_t count) {
    if (count != 2 || !PyList_CheckExact(args[0])) return PyErr_Format(PyExc_TypeError, "backward(roots, retain) takes a list and a bool");
    if (apply_fix == nullptr) Py_RETURN_FALSE;
    Pass pass;
    const int can = pass.collect(args[0]);
    if (can == 0) Py_RETURN_FALSE;
    if (can < 0 || !pass.run(args[0], args[1] == Py_True)) return nullptr;
    Py_RETURN_TRUE;
}

PyObject* bind_backward(PyObject*, PyObject* args) {
    PyObject *node, *unary, *binary, *fix, *sample, *refused, *plain, *kernel;
    if (!PyArg_ParseTuple(args, "OOOOOOOO", &node, &unary, &binary, &fix, &sample, &refused, &plain, &kernel)) return nullptr;
    if (!find_slot(reinterpret_cast<PyObject*>(layout.port), "node", &port_node) || !find_slot(reinterpret_cast<PyObject*>(layout.port), "index", &port_index) ||
        !find_slot(reinterpret_cast<PyObject*>(layout.leaf), "tensor", &leaf_tensor)) {
        return nullptr;
    }
    node_class = Py_NewRef(node);
    unary_class = Py_NewRef(unary);
    binary_class = Py_NewRef(binary);
    by_sample = Py_NewRef(sample);
    not_batched = Py_NewRef(refused);
    not_plain = Py_NewRef(plain);
    add_kernel = Py_NewRef(kernel);
    plain_free = PyObject_GetAttrString(node, "free");
    apply_fix = Py_NewRef(fix);
    Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"backward", reinterpret_cast<PyCFunction>(backward), METH_FASTCALL,
     "backward([(edge, array), ...], retain) -> bool: the backward pass into all leaves; False, with nothing changed, where hooks or other "
     "rarities want the Python engine."},
    {"bind_backward", bind_backward, METH_VARARGS, "bind_backward(Node, UnaryNode, BinaryNode, apply_fix, by_sample, NotBatched, NotPlain, add): what the pass calls."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

void refuse_operands(const char* message) {
    PyErr_SetString(not_plain == nullptr ? PyExc_TypeError : not_plain, message);
}

int add_backward(PyObject* module) {
    name_arrays = PyUnicode_InternFromString("arrays");
    name_free = PyUnicode_InternFromString("free");
    name_outputs = PyUnicode_InternFromString("outputs");
    name_accumulate = PyUnicode_InternFromString("accumulate_array");
    one = PyLong_FromLong(1);
    return PyModule_AddFunctions(module, methods);
}

}  // namespace rushlight
