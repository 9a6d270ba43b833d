// A student's states behind the final norm, matched to its teacher's through a projection that is learned with it (docs/numerics.md holds the equations).
// The projection is the last tensor of what is trained (parameters). Letters: R head rows, C width of the student, D width of the teacher.
#pragma once
#include <vector>

#include "core/loss.h"
#include "core/parameters.h"

namespace stillroom {

class HiddenMatch {
   public:
    // Outlived by the parameters, which have a projection.
    HiddenMatch(Parameters& parameters, double weight) : parameters(parameters), weight(weight) {}

    // Sum over queries of |P h - t|^2 / |t|^2, before its weight, after graph.forward(). Queries at one position have one teacher: the first one's counts
    // for all. Failure(usage) for a batch without states of the projection's width.
    double distances(Graph& graph, const Batch& batch, LossScratch& scratch);
    // The gradient of weight times what distances() returned last: added to the states' that the head has left in the graph, and to the projection's.
    void add_gradients(Graph& graph, float* gradients);

    // The first values of the projection: observe() after forward passes of the model as it is then, at last fit(), a ridge regression of the teacher's
    // states on the student's. A batch with a state that is not finite is passed over.
    void observe(Graph& graph, const Batch& batch, LossScratch& scratch);
    void fit(Threads& threads);

   private:
    void check(const Batch& batch) const;
    Parameters& parameters;
    const double weight;
    Buffer errors, weighted;  // (R, D), (R, C)
    Packed packed;
    std::vector<float> gram;  // (C, C) between observe() and fit(); what the states have in common with the teacher's lies where the projection will
};

}  // namespace stillroom
