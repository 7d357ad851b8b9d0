"""Pools and machines of any size, for what must hold of them all."""

from dataclasses import replace
from fractions import Fraction

from fleet.model.read import read_model
from fleet.model.types import Autoscale, Demand, Reserve
from fleet.plan.sizing import Hardware
from hypothesis import strategies as st

from support.fleet_model import LOADED

RESERVE = Reserve(Fraction("0.25"), Fraction("0.1"))
POOL = read_model(LOADED)[0].pools["io"]

decimals = st.decimals(min_value="0.01", max_value=64, places=2).map(Fraction)
demands = st.builds(
    Demand, cores=st.just(Fraction(0)) | decimals, memory_mib=st.integers(1, 65536).map(Fraction)
)
pool_mixes = st.lists(
    st.builds(
        lambda demand, weight, most: replace(
            POOL, demand=demand, weight=weight, max_concurrency=most, autoscale=Autoscale(False, None, None)
        ),
        demands,
        decimals,
        st.none() | st.integers(1, 200),
    ),
    min_size=1,
    max_size=6,
).map(lambda pools: {f"pool{at}": pool for at, pool in enumerate(pools)})
machines = st.builds(
    Hardware, cores=st.integers(1, 256).map(Fraction), memory_mib=st.integers(256, 2**21).map(Fraction)
)
